"""Closed and open load: what is kept in flight, what is counted, what latency counts from."""

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from core.errors import Cancelled, NotReady
from core.profiling.client import Answer
from core.profiling.load import (
    Sent,
    Window,
    closed_until,
    open_loop,
    open_until,
    poisson_arrivals_s,
    poisson_gaps_s,
)
from core.profiling.statistics import first_error, load_level, spread


class Server:
    """Answers after a pause; counts what is open together."""

    def __init__(self, pause_s: float, error: str = "") -> None:
        self.pause_s = pause_s
        self.error = error
        self.asked: list[str] = []
        self.open = 0
        self.most_open = 0

    async def ask(self, item: str) -> Answer:
        self.asked.append(item)
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        await asyncio.sleep(self.pause_s)
        self.open -= 1
        return answer(e2e_ms=self.pause_s * 1000, error=self.error)


def evenly(rate_rps: float, count: int) -> list[float]:
    return [i / rate_rps for i in range(count)]


def answer(
    e2e_ms: float = 20.0, ttft_ms: float | None = 5.0, tokens: int = 4, error: str = ""
) -> Answer:
    return Answer("4", ttft_ms, e2e_ms, 7, tokens, error)


def nothing(fraction: float, count: int) -> None:
    return


async def test_cancelling_ends_an_open_loop_too() -> None:
    server = Server(0.01)

    def cancel(fraction: float, count: int) -> None:
        raise Cancelled("Cancelled by the operator.")

    with pytest.raises(Cancelled):
        await open_loop(server.ask, ["a"] * 9000, evenly(100, 9000), cancel)
    asked = len(server.asked)
    await asyncio.sleep(0.05)
    assert len(server.asked) == asked < 9000


async def test_an_error_of_our_own_is_not_swallowed() -> None:
    async def refuse(item: str) -> Answer:
        raise NotReady("No replica is ready.")

    with pytest.raises(NotReady):
        await open_loop(refuse, ["a", "b"], [0.0, 0.0], nothing)


async def test_progress_rises_to_one() -> None:
    seen: list[float] = []
    times_s = evenly(50, 60)
    await open_loop(Server(0.01).ask, ["a"] * 60, times_s, lambda f, _: seen.append(f))
    assert seen == sorted(seen)
    assert len(seen) >= 2
    assert seen[-1] == 1.0


async def test_a_slow_server_cannot_hide_behind_a_slow_client() -> None:
    """Coordinated omission: latency counts from the schedule, not from the late sending."""

    async def block(item: str) -> Answer:
        started_s = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < started_s + 0.05:
            pass  # the whole client stands still, as a client without a free core does
        return answer(e2e_ms=50.0, ttft_ms=50.0)

    answers = await open_loop(block, ["a"] * 4, [0.0] * 4, nothing)
    e2e_ms = sorted(a.e2e_ms for a in answers)
    for place, ms in enumerate(e2e_ms, 1):
        assert ms >= place * 50 - 2
    assert all(a.ttft_ms == pytest.approx(a.e2e_ms) for a in answers)


async def test_an_open_loop_sends_on_schedule_whatever_is_open() -> None:
    server = Server(0.2)
    answers = await open_loop(server.ask, list("abcdef"), evenly(100, 6), nothing)
    assert server.asked == list("abcdef")
    assert server.most_open == 6
    assert len(answers) == 6


async def test_answers_come_back_in_the_order_of_the_items() -> None:
    async def slow_first(item: int) -> Answer:
        await asyncio.sleep(0.1 if item == 0 else 0)
        return Answer(str(item), 1.0, 1.0, 1, 1)

    answers = await open_loop(slow_first, [0, 1, 2], [0.0, 0.0, 0.0], nothing)
    assert [a.text for a in answers] == ["0", "1", "2"]


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_watched_load_ends_when_it_is_enough_and_keeps_what_is_under_way(
    concurrency: int,
) -> None:
    server = Server(0.02)
    seen: list[int] = []

    def watch(elapsed_s: float, sent: Sequence[Sent]) -> bool:
        seen.append(len(sent))
        return len(seen) == 2

    run = await closed_until(server.ask, ["a", "b"], concurrency, watch, drain_s=5.0)
    assert server.most_open == concurrency
    assert server.open == 0
    assert len(run.sent) == len(server.asked) > seen[-1]
    assert server.asked[:4] == ["a", "b", "a", "b"]
    assert max(one.sent_at_s for one in run.sent) <= run.stopped_at_s
    assert run.stopped_at_s < max(one.ended_at_s for one in run.sent) + 0.1


async def test_what_does_not_end_in_time_is_given_up() -> None:
    server = Server(60.0)
    for load in (
        closed_until(server.ask, ["a"], 2, lambda *_: True, drain_s=0.1),
        open_until(server.ask, ["a"], iter([0.0] * 3 + [60.0]), lambda *_: True, drain_s=0.1),
    ):
        run = await load
        assert run.sent == ()


async def test_a_watch_that_raises_ends_every_load() -> None:
    server = Server(0.01)

    def cancel(elapsed_s: float, sent: Sequence[Sent]) -> bool:
        raise Cancelled("Cancelled by the operator.")

    with pytest.raises(Cancelled):
        await closed_until(server.ask, ["a"], 3, cancel, 60.0)
    with pytest.raises(Cancelled):
        await open_until(server.ask, ["a"], poisson_gaps_s(200, 1), cancel, 60.0)
    asked = len(server.asked)
    await asyncio.sleep(0.05)
    assert len(server.asked) == asked


async def test_an_error_of_our_own_ends_a_watched_load() -> None:
    async def refuse(item: str) -> Answer:
        raise NotReady("No replica is ready.")

    with pytest.raises(NotReady):
        await closed_until(refuse, ["a"], 2, lambda *_: False, 60.0)
    with pytest.raises(NotReady):
        await open_until(refuse, ["a"], iter([0.0, 0.3]), lambda elapsed_s, _: elapsed_s > 1, 60.0)


async def test_open_arrivals_keep_their_schedule_whatever_is_open() -> None:
    server = Server(0.3)
    run = await open_until(server.ask, ["a"], poisson_gaps_s(50, 3), lambda *_: True, 5.0)
    due = np.cumsum([gap for gap, _ in zip(poisson_gaps_s(50, 3), run.sent, strict=False)])
    assert [one.sent_at_s for one in run.sent] == pytest.approx(list(due))
    assert server.most_open > 5
    for one in run.sent:
        assert one.ended_at_s >= one.sent_at_s + 0.29
        assert one.sent_at_s <= run.stopped_at_s


async def test_a_watched_load_is_late_when_its_client_is() -> None:
    async def block(item: str) -> Answer:
        started_s = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() < started_s + 0.05:
            pass
        return answer(e2e_ms=50.0, ttft_ms=50.0)

    gaps_s = iter([0.0] * 4 + [60.0])
    run = await open_until(block, ["a"], gaps_s, lambda elapsed_s, _: elapsed_s > 0.4, 5.0)
    e2e_ms = sorted(one.answer.e2e_ms for one in run.sent)
    assert len(e2e_ms) == 4
    for place, ms in enumerate(e2e_ms, 1):
        assert ms >= place * 50 - 2


def test_poisson_arrivals_have_the_rate_the_gaps_and_the_seed() -> None:
    arrivals_s = poisson_arrivals_s(20.0, 20_000, seed=3)
    gaps_s = np.diff([0.0, *arrivals_s])
    assert arrivals_s == poisson_arrivals_s(20.0, 20_000, seed=3)
    assert arrivals_s != poisson_arrivals_s(20.0, 20_000, seed=4)
    assert gaps_s.min() > 0
    assert gaps_s.mean() == pytest.approx(1 / 20, rel=0.03)
    assert gaps_s.std() == pytest.approx(1 / 20, rel=0.03)  # exponential: both are 1 / rate


def test_a_spread_agrees_with_the_definition() -> None:
    found = spread(range(1, 102))
    assert (found.mean, found.p50, found.p95, found.p99) == (51, 51, 96, 100)


def test_a_level_counts_answers_and_failures_apart() -> None:
    answers = (answer(20.0, 5.0, 4), answer(30.0, 6.0, 5), answer(0.1, None, 0, "HTTP 500"))
    level = load_level(2, Window(answers, 4.0), 123)
    assert level is not None
    assert (level.requests, level.errors, level.memory_bytes) == (2, 1, 123)
    assert level.requests_per_s == 0.5
    assert level.output_tokens_per_s == 2.25
    assert level.ttft_ms.mean == 5.5
    assert level.tpot_ms.mean == pytest.approx((15 / 3 + 24 / 4) / 2)
    assert level.input_tokens_mean == 7


def test_a_level_of_failures_only_is_none() -> None:
    failures = (answer(1.0, None, 0, "first"), answer(1.0, None, 0, "second"))
    assert load_level(1, Window(failures, 1.0), 0) is None
    assert first_error(failures) == "first"
    assert first_error([answer()]) == ""


def test_answers_of_one_token_leave_the_time_between_tokens_at_zero() -> None:
    level = load_level(1, Window((answer(5.0, 5.0, 1),), 1.0), 0)
    assert level is not None
    assert level.tpot_ms.p99 == 0.0
