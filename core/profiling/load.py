"""Load on replicas: closed loop (a number in flight) and open loop (a schedule of arrivals)."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from core.profiling.client import Answer

Item = TypeVar("Item")
AskItem = Callable[[Item], Awaitable[Answer]]


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


async def closed_loop(
    ask_item: AskItem[Item],
    items: Sequence[Item],
    concurrency: int,
    warm_up_s: float,
    seconds: float,
    on_progress: Callable[[float, int], None],
) -> Window:
    """Keep `concurrency` requests in flight; count what ends in the window after the warm-up.

    Args:
        items: Asked in turn, again from the start when used up.
        on_progress: Called about twice a second with the done fraction and the count so far.
    """
    counted: list[Answer] = []
    began_s = time.perf_counter()
    window_s = (began_s + warm_up_s, began_s + warm_up_s + seconds)
    position = 0

    async def worker() -> None:
        nonlocal position
        while time.perf_counter() < window_s[1]:
            item = items[position % len(items)]
            position += 1
            answer = await ask_item(item)
            if window_s[0] <= time.perf_counter() < window_s[1]:
                counted.append(answer)
            if answer.error:
                await asyncio.sleep(0.05)  # a server that refuses at once must not be hammered

    def report() -> None:
        elapsed_s = time.perf_counter() - began_s
        on_progress(min(1.0, elapsed_s / (warm_up_s + seconds)), len(counted))

    await _with_reports([worker() for _ in range(concurrency)], report)
    return Window(tuple(counted), seconds)


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
            finished, pending = await asyncio.wait(pending, timeout=0.5)
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


def _later(answer: Answer, late_ms: float) -> Answer:
    return Answer(
        text=answer.text,
        ttft_ms=None if answer.ttft_ms is None else answer.ttft_ms + late_ms,
        e2e_ms=answer.e2e_ms + late_ms,
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        error=answer.error,
        headers=answer.headers,
    )
