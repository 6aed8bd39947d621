"""Load on replicas: closed loop (a number in flight) and open loop (a schedule of arrivals)."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from core.profiling.client import Answer

Item = TypeVar("Item")
AskItem = Callable[[Item], Awaitable[Answer]]

REPORT_S = 0.5
"""Time between two reports, and so the precision with which a watched load ends."""


@dataclass(frozen=True, slots=True)
class Window:
    """Answers that ended inside a counted window.

    They may have begun before it, just as others begun in it end after it: so many answers per
    second of the window are the throughput, without bias.

    Attributes:
        answers: In order of completion.
        duration_s: Length of the window.
    """

    answers: tuple[Answer, ...]
    duration_s: float


@dataclass(frozen=True, slots=True)
class Sent:
    """One question's answer, and when it was sent: seconds from the start of the load."""

    sent_at_s: float
    answer: Answer

    @property
    def ended_at_s(self) -> float:
        """When its answer ended, seconds from the start of the load."""
        return self.sent_at_s + self.answer.e2e_ms / 1000

    @property
    def good(self) -> bool:
        """Whether it was answered."""
        return not self.answer.error and self.answer.ttft_ms is not None


@dataclass(frozen=True, slots=True)
class Run:
    """A whole load, from an idle server on.

    Attributes:
        sent: In order of completion, those that ended after it was stopped included.
        stopped_at_s: When no more was sent.
    """

    sent: tuple[Sent, ...]
    stopped_at_s: float


Watch = Callable[[float, Sequence[Sent]], bool]
"""Told the elapsed seconds and the answers so far about twice a second, in a thread; True ends
the load, raising cancels it."""


async def closed_until(
    ask_item: AskItem[Item],
    items: Sequence[Item],
    concurrency: int,
    watch: Watch,
    drain_s: float,
) -> Run:
    """Keep `concurrency` requests in flight until `watch` says that it is enough.

    Args:
        items: Asked in turn, again from the start when used up.
        drain_s: Longest wait for what is in flight at the end; the rest is given up.
    """
    gathering = _Gathering()
    turns = _again(items)

    async def worker() -> None:
        while not gathering.over.is_set():
            sent = await gathering.ask(ask_item, next(turns), gathering.elapsed_s)
            if sent.answer.error:
                await asyncio.sleep(0.05)  # a server that refuses at once must not be hammered

    return await gathering.run([worker() for _ in range(concurrency)], watch, drain_s)


async def open_until(
    ask_item: AskItem[Item],
    items: Sequence[Item],
    gaps_s: Iterable[float],
    watch: Watch,
    drain_s: float,
) -> Run:
    """Send requests on a schedule, however slow the answers are, until `watch` says enough.

    Latency counts from the scheduled arrival: a client that falls behind cannot hide it.

    Args:
        items: Asked in turn, again from the start when used up.
        gaps_s: Seconds between arrivals, without end.
        drain_s: Longest wait for what is in flight at the end; the rest is given up.
    """
    gathering = _Gathering()
    turns = _again(items)

    async def send() -> None:
        open_requests: list[asyncio.Task[Sent]] = []
        at_s = 0.0
        try:
            for gap_s in gaps_s:
                at_s += gap_s
                if await gathering.over_before(at_s):
                    break
                request = gathering.ask(ask_item, next(turns), at_s)
                open_requests.append(asyncio.create_task(request))
            await asyncio.gather(*open_requests)
        finally:
            await _end(open_requests)

    return await gathering.run([send()], watch, drain_s)


def poisson_gaps_s(rate_rps: float, seed: int) -> Iterator[float]:
    """Yield exponential gaps between arrivals without end, the same for a seed."""
    rng = np.random.default_rng(seed)
    while True:
        yield float(rng.exponential(1 / rate_rps))


def poisson_arrivals_s(rate_rps: float, count: int, seed: int) -> list[float]:
    """Return `count` arrival times in seconds from 0, exponential gaps, the same for a seed."""
    gaps = np.random.default_rng(seed).exponential(1 / rate_rps, count)
    return [float(at) for at in np.cumsum(gaps)]


async def open_loop(
    ask_item: AskItem[Item],
    items: Sequence[Item],
    arrivals_s: Sequence[float],
    on_progress: Callable[[float, int], None],
) -> list[Answer]:
    """Send each item at its arrival time, however slow the answers are; return them in order.

    Latency counts from the scheduled arrival: a client that falls behind cannot hide it.

    Args:
        arrivals_s: One per item, in rising order.
    """
    began_s = time.perf_counter()
    answers: list[Answer] = []
    done = 0

    async def one(item: Item, at_s: float) -> Answer:
        nonlocal done
        late_ms = (time.perf_counter() - began_s - at_s) * 1000
        answer = await ask_item(item)
        done += 1
        return _later(answer, late_ms)

    async def send() -> None:
        sent: list[asyncio.Task[Answer]] = []
        try:
            for item, at_s in zip(items, arrivals_s, strict=True):
                await asyncio.sleep(max(0.0, began_s + at_s - time.perf_counter()))
                sent.append(asyncio.create_task(one(item, at_s)))
            answers.extend(await asyncio.gather(*sent))
        finally:
            await _end(sent)

    await _with_reports([send()], lambda: on_progress(done / len(items), done))
    return answers


async def _with_reports(work: Sequence[Awaitable[None]], report: Callable[[], None]) -> None:
    """Run all work together, reporting about twice a second; a report may cancel by raising."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        pending = set(tasks)
        while pending:
            finished, pending = await asyncio.wait(pending, timeout=REPORT_S)
            for task in finished:
                task.result()
            # In a thread: reporting writes to the database and must not hold up the load.
            await asyncio.to_thread(report)
    finally:
        await _end(tasks)


async def _end(tasks: Sequence[asyncio.Future[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _again(items: Sequence[Item]) -> Iterator[Item]:
    while True:
        yield from items


def _later(answer: Answer, late_ms: float) -> Answer:
    ttft_ms = None if answer.ttft_ms is None else answer.ttft_ms + late_ms
    return replace(answer, ttft_ms=ttft_ms, e2e_ms=answer.e2e_ms + late_ms)


class _Gathering:
    """Collects the answers of a load that somebody watches."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self._began_s = time.perf_counter()
        self._sent: list[Sent] = []

    @property
    def elapsed_s(self) -> float:
        return time.perf_counter() - self._began_s

    async def ask(self, ask_item: AskItem[Item], item: Item, at_s: float) -> Sent:
        """Ask now what was due at `at_s`."""
        late_ms = (self.elapsed_s - at_s) * 1000
        answer = await ask_item(item)
        sent = Sent(at_s, _later(answer, late_ms))
        self._sent.append(sent)
        return sent

    async def over_before(self, at_s: float) -> bool:
        """Wait for a moment; True when the load was ended before it."""
        try:
            async with asyncio.timeout(max(0.0, at_s - self.elapsed_s)):
                await self.over.wait()
        except TimeoutError:
            return False
        return True

    async def run(self, work: Sequence[Awaitable[None]], watch: Watch, drain_s: float) -> Run:
        tasks = [asyncio.ensure_future(one) for one in work]
        try:
            while not self.over.is_set():
                await self._wait(tasks, REPORT_S)
                # In a thread: it writes to the database and must not hold up the load.
                if await asyncio.to_thread(watch, self.elapsed_s, tuple(self._sent)):
                    self.over.set()
            stopped_at_s = self.elapsed_s
            await self._wait(tasks, drain_s)
        finally:
            await _end(tasks)
        return Run(tuple(self._sent), stopped_at_s)

    async def _wait(self, tasks: Sequence[asyncio.Future[None]], seconds: float) -> None:
        finished, _ = await asyncio.wait(
            tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION
        )
        for task in finished:
            task.result()
