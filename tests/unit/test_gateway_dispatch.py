"""Who gets a request: the replica with the least work left, a free one, one that answers."""

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.deployment import SERVING, Replica, ReplicaState
from core.domain.ids import utc_now
from core.domain.plan import ReplicaKind
from core.ports import UnitOfWork
from core.serving.gateway.breaker import FAILURES, FIRST_PAUSE_S, LONGEST_PAUSE_S, Breaker
from core.serving.gateway.dispatch import LONGEST_WAIT_S, MOST_WAITING, Dispatch, Ticket, Weight
from core.serving.gateway.errors import ApiError
from core.serving.gateway.speed import OutputLengths, Speed, speed_of
from core.serving.gateway.state import View, ViewKeeper
from tests.contract import samples

SLOW = ReplicaKind("small", "cpu-core")
FAST = ReplicaKind("small", "gpu")
ONE = Weight(0, 1)


def replica(name: str, kind: ReplicaKind = SLOW) -> Replica:
    return Replica(name, SERVING, kind, True, ReplicaState.READY, utc_now(), port=1)


def no_database() -> UnitOfWork:
    raise AssertionError("nothing here reads the database")


class World:
    def __init__(
        self, *replicas: Replica, longest_wait_s: float = LONGEST_WAIT_S, **speeds: Speed
    ) -> None:
        self.now_s = 0.0
        self.keeper = ViewKeeper(no_database)
        self.breaker = Breaker(lambda: self.now_s)
        self.dispatch = Dispatch(self.keeper, self.breaker, longest_wait_s)
        self.speeds = {SLOW: speeds.get("slow", SPEED), FAST: speeds.get("fast", SPEED)}
        self.show(*replicas)

    def show(self, *replicas: Replica) -> None:
        by_model = {"small": tuple(replicas)} if replicas else {}
        self.keeper.view = View(replicas=by_model, speeds=self.speeds)
        self.dispatch.view_changed()

    async def take(self, weight: Weight = ONE, tried: tuple[str, ...] = ()) -> Ticket:
        return await self.dispatch.take("small", weight, tried)

    async def names(self, number: int) -> list[str]:
        return sorted([(await self.take()).replica.replica_id for _ in range(number)])


SPEED = Speed(request_s=0.0, input_s=0.0, output_s=1.0, slots=100)


@given(
    fast=st.floats(1.0, 8.0),
    jobs=st.lists(st.tuples(st.integers(1, 900), st.integers(1, 400)), min_size=1, max_size=40),
)
async def test_each_request_goes_where_it_would_be_done_first(
    fast: float, jobs: list[tuple[int, int]]
) -> None:
    slow = Speed(0.01, 0.001, 0.02, 1000)
    quick = Speed(0.01 / fast, 0.001 / fast, 0.02 / fast, 1000)
    world = World(replica("a"), replica("b", FAST), slow=slow, fast=quick)
    left_s = {"a": 0.0, "b": 0.0}
    for size in jobs:
        ticket = await world.take(Weight(*size))
        own_s = {
            name: s.request_s + size[0] * s.input_s + size[1] * s.output_s
            for name, s in (("a", slow), ("b", quick))
        }
        chosen = ticket.replica.replica_id
        assert left_s[chosen] + own_s[chosen] == pytest.approx(
            min(left_s[name] + own_s[name] for name in left_s)
        )
        left_s[chosen] += own_s[chosen]
    assert dict(world.dispatch.work_s) == pytest.approx({n: s for n, s in left_s.items() if s})


async def test_a_faster_replica_gets_more() -> None:
    fast = Speed(0.0, 0.0, 0.25, 100)
    world = World(replica("a"), replica("b", FAST), fast=fast)
    assert (await world.names(10)).count("b") == 8


async def test_one_long_request_counts_like_many_short_ones() -> None:
    world = World(replica("a"), replica("b"))
    long = await world.take(Weight(0, 10))
    others = [(await world.take()).replica.replica_id for _ in range(10)]
    assert long.replica.replica_id not in others


async def test_what_was_streamed_no_longer_counts() -> None:
    world = World(replica("a"), replica("b"))
    long = await world.take(Weight(0, 10))
    world.dispatch.progress(long, 9)
    world.dispatch.progress(long, 0)
    assert world.dispatch.work_s[long.replica.replica_id] == pytest.approx(1)
    world.dispatch.progress(long, 50)
    assert world.dispatch.work_s[long.replica.replica_id] == pytest.approx(0)
    world.dispatch.give(long)
    assert dict(world.dispatch.work_s) == {}


async def test_equals_take_turns() -> None:
    world = World(replica("a"), replica("b"), replica("c"))
    assert await world.names(6) == ["a", "a", "b", "b", "c", "c"]


async def test_all_full_waits_for_the_first_free_place_in_order() -> None:
    world = World(replica("a"), slow=Speed(0.0, 0.0, 1.0, slots=1))
    held = [await world.take() for _ in range(2)]
    order: list[int] = []

    async def later(number: int) -> None:
        ticket = await world.take()
        order.append(number)
        world.dispatch.give(ticket)

    waiting = [asyncio.create_task(later(number)) for number in range(3)]
    await until(lambda: world.dispatch.waiting == 3)
    world.dispatch.give(held.pop())
    await asyncio.gather(*waiting)
    assert order == [0, 1, 2]
    assert world.dispatch.waiting == 0


async def test_who_stops_waiting_takes_no_place() -> None:
    world = World(replica("a"), slow=Speed(0.0, 0.0, 1.0, slots=1))
    held = [await world.take() for _ in range(2)]
    gone, stays = asyncio.create_task(world.take()), asyncio.create_task(world.take())
    await until(lambda: world.dispatch.waiting == 2)
    world.dispatch.give(held.pop())  # goes to the first, who leaves in the same moment
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    world.dispatch.give(await stays)
    world.dispatch.give(held.pop())
    assert dict(world.dispatch.work_s) == {}


async def test_the_queue_is_bounded_and_says_when_to_come_back() -> None:
    world = World(replica("a"), slow=Speed(0.0, 0.0, 3.5, slots=1))
    held = [await world.take() for _ in range(2)]
    waiting = [asyncio.create_task(world.take()) for _ in range(MOST_WAITING)]
    await until(lambda: world.dispatch.waiting == MOST_WAITING)
    with pytest.raises(ApiError) as refused:
        await world.take()
    assert (refused.value.status, refused.value.code) == (429, "too_busy")
    assert refused.value.retry_after_s == 7
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert len(held) == 2
    assert world.dispatch.waiting == 0


async def test_waiting_ends() -> None:
    world = World(replica("a"), longest_wait_s=0.01, slow=Speed(0.0, 0.0, 1.0, slots=1))
    _ = [await world.take() for _ in range(2)]
    with pytest.raises(ApiError) as refused:
        await world.take()
    assert refused.value.status == 429
    assert world.dispatch.waiting == 0


async def test_a_new_replica_serves_who_waits() -> None:
    world = World(replica("a"), slow=Speed(0.0, 0.0, 1.0, slots=1))
    _ = [await world.take() for _ in range(2)]
    waiting = asyncio.create_task(world.take())
    await until(lambda: world.dispatch.waiting == 1)
    world.show(replica("a"), replica("b"))
    assert (await waiting).replica.replica_id == "b"


async def test_who_waits_hears_when_the_last_replica_goes() -> None:
    world = World(replica("a"), slow=Speed(0.0, 0.0, 1.0, slots=1))
    _ = [await world.take() for _ in range(2)]
    waiting = asyncio.create_task(world.take())
    await until(lambda: world.dispatch.waiting == 1)
    world.show()
    with pytest.raises(ApiError) as refused:
        await waiting
    assert refused.value.code == "no_ready_replica"


async def test_tried_replicas_are_left_out() -> None:
    world = World(replica("a"), replica("b"))
    assert (await world.take(tried=("a",))).replica.replica_id == "b"
    with pytest.raises(ApiError) as refused:
        await world.take(tried=("a", "b"))
    assert refused.value.status == 502


async def test_a_refused_connection_opens_the_circuit_and_one_request_tries_again() -> None:
    one, two = replica("a"), replica("b")
    world = World(one, two)
    world.breaker.failed(one, refused=True)
    assert await world.names(3) == ["b", "b", "b"]
    assert world.breaker.open == 1
    world.now_s += FIRST_PAUSE_S
    names = [(await world.take()).replica.replica_id for _ in range(4)]
    assert names.count("a") == 1
    world.breaker.succeeded(one)
    assert world.breaker.open == 0
    assert "a" in await world.names(6)


async def test_when_all_fail_the_caller_hears_at_once() -> None:
    only = replica("a")
    world = World(only)
    world.breaker.failed(only, refused=True)
    with pytest.raises(ApiError) as refused:
        await world.take()
    assert (refused.value.status, refused.value.code) == (503, "replica_unreachable")


def test_pauses_grow_and_a_success_ends_them() -> None:
    now_s = 0.0
    breaker, one = Breaker(lambda: now_s), replica("a")
    pauses = []
    for _ in range(8):
        breaker.failed(one, refused=True)
        waited_s = 0.0
        while not breaker.allows(one):
            now_s, waited_s = now_s + FIRST_PAUSE_S, waited_s + FIRST_PAUSE_S
        pauses.append(waited_s)
        breaker.begun(one)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    assert max(pauses) == LONGEST_PAUSE_S
    breaker.succeeded(one)
    for _ in range(FAILURES - 1):
        breaker.failed(one, refused=False)
    assert breaker.allows(one)
    breaker.failed(one, refused=False)
    assert not breaker.allows(one)


def test_a_try_that_says_nothing_may_be_repeated() -> None:
    now_s = 0.0
    breaker, one = Breaker(lambda: now_s), replica("a")
    breaker.failed(one, refused=True)
    now_s = FIRST_PAUSE_S
    assert breaker.allows(one)
    breaker.begun(one)
    assert not breaker.allows(one)
    breaker.ended(one)
    assert breaker.allows(one)


def test_a_replica_that_was_started_again_is_trusted_again() -> None:
    breaker, one = Breaker(), replica("a")
    breaker.failed(one, refused=True)
    again = Replica("a", SERVING, SLOW, True, ReplicaState.READY, utc_now(), port=1, restarts=1)
    assert breaker.allows(again)
    breaker.keep_only([again])
    assert breaker.open == 0


def test_speed_of_a_profile_with_step_times() -> None:
    profile = samples.profile()
    speed = speed_of(SLOW, profile, None, 3.6)
    step, level = profile.step, profile.levels[0]
    assert step is not None
    context = level.input_tokens_mean + level.output_tokens_mean / 2
    # The level with the best throughput is the first of the two equal ones: 4 in a batch.
    token_s = step.fixed_s / 4 + step.per_sequence_s + step.per_context_token_s * context
    assert speed.output_s == pytest.approx(token_s)
    assert speed.work_s(100, 10) == pytest.approx(
        step.per_request_s + 100 * step.per_prefill_token_s + 10 * token_s
    )
    assert speed.cost_usd(100, 10) == pytest.approx(0.001 * speed.work_s(100, 10))
    assert speed.slots == 16


def test_speed_of_a_profile_without_step_times_and_of_none() -> None:
    plain = samples.profile(step=None, engine_limits=None)
    speed = speed_of(SLOW, plain, 8, None)
    assert speed.output_s == pytest.approx(1 / plain.levels[0].output_tokens_per_s)
    assert (speed.input_s, speed.slots, speed.cost_usd(1, 1)) == (0.0, 8, None)
    double = ReplicaKind("small", "cpu-core", tp=2)
    unknown, doubled = (speed_of(kind, None, None, 1.0) for kind in (SLOW, double))
    assert unknown.output_s == 2 * doubled.output_s
    assert doubled.usd_per_s == pytest.approx(2 / 3600)


def test_answers_are_expected_to_be_as_long_as_lately() -> None:
    lengths = OutputLengths()
    first = lengths.expected("m", "easy", None)
    for _ in range(200):
        lengths.learn("m", "easy", 20)
    assert lengths.expected("m", "easy", None) == pytest.approx(20)
    assert lengths.expected("m", "easy", 5) == 5
    assert lengths.expected("m", "hard", None) == first


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(2000):
        if holds():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("did not happen")
