"""Load on an OpenAI-compatible endpoint and how it fared: a process of its own, on bare sockets.

Open loop: requests leave at Poisson moments whatever happens to earlier ones, and latency counts
from the moment they were due, so that a stalled gateway cannot hide its stall. Closed loop: each
of so many callers sends the next request when the last was answered.
"""

import argparse
import asyncio
import gc
import json
import random
import re
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from statistics import quantiles
from typing import cast

import uvloop

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
END_OF_STREAM = b"0\r\n\r\n"
DONE = b"data: [DONE]"
LONGEST_S = 60.0
TEXTS = tuple(f"What is {3 * n + 1} + {7 * n % 89}? Explain step {n}." for n in range(64))
"""All of about one length: the load is the same for whoever comes first."""


@dataclass(frozen=True)
class Target:
    """Who is asked, and how.

    Attributes:
        key: Bearer key; empty sends none.
    """

    port: int
    model: str
    stream: bool
    key: str

    def request(self, number: int) -> bytes:
        """Return the bytes of a request."""
        text = TEXTS[number % len(TEXTS)]
        messages = [{"role": "user", "content": text}]
        body = {"model": self.model, "messages": messages, "max_tokens": 64}
        content = json.dumps({**body, "stream": True} if self.stream else body).encode()
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        )
        key = f"Authorization: Bearer {self.key}\r\n" if self.key else ""
        return f"{head}{key}\r\n".encode() + content


@dataclass
class Seen:
    """What came back.

    Attributes:
        ttft_ms: To the first bytes of the body, per good answer.
        e2e_ms: To the last byte.
        problems: Kinds of bad answers with their number.
    """

    ttft_ms: list[float] = field(default_factory=list)
    e2e_ms: list[float] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)


class Caller(asyncio.Protocol):
    """One connection with one request at a time."""

    def __init__(self, stream: bool) -> None:
        self._stream = stream
        self.transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._length: int | None = None
        self._body_at = 0
        self._first_s = 0.0
        self._done: asyncio.Future[tuple[float, float]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Fail what is under way."""
        self.transport = None
        self._fail("connection closed")

    def send(self, request: bytes) -> "asyncio.Future[tuple[float, float]]":
        """Send a request; the future holds when the first and the last bytes came, in s."""
        assert self.transport is not None
        self._received.clear()
        self._body_at, self._first_s, self._length = 0, 0.0, None
        self._done = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._done

    def data_received(self, data: bytes) -> None:
        """Notice the first bytes of the body and its end."""
        received = self._received
        received += data
        if not self._body_at and not self._head_is_there():
            return
        if len(received) > self._body_at and not self._first_s:
            self._first_s = time.perf_counter()
        if self._is_whole():
            self._finish()

    def _head_is_there(self) -> bool:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return False
        self._body_at = end + 4
        length = LENGTH.search(self._received, 0, end)
        self._length = int(length[1]) if length else None
        return True

    def _is_whole(self) -> bool:
        if self._length is not None:
            return len(self._received) >= self._body_at + self._length
        return self._received.endswith(END_OF_STREAM)

    def _finish(self) -> None:
        status = bytes(self._received[9:12]).decode(errors="replace")
        if status != "200":
            self._fail(f"status {status}")
        elif self._stream and DONE not in self._received[-64:]:
            self._fail("cut stream")
        elif self._done is not None and not self._done.done():
            self._done.set_result((self._first_s, time.perf_counter()))

    def _fail(self, why: str) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(ConnectionError(why))


class Load:
    """Sends requests over kept connections and remembers how they fared."""

    def __init__(self, target: Target) -> None:
        self.seen = Seen()
        self._target = target
        self._idle: deque[Caller] = deque()
        self._requests = [target.request(number) for number in range(len(TEXTS))]

    async def one(self, number: int, due_s: float) -> bool:
        """Send one request that was due at a moment of `perf_counter`; whether it went well."""
        try:
            async with asyncio.timeout(LONGEST_S):
                caller = await self._caller()
                first_s, last_s = await caller.send(self._requests[number % len(TEXTS)])
        except (OSError, TimeoutError) as error:
            self.seen.problems[str(error) or type(error).__name__] += 1
            return False
        self._idle.append(caller)
        self.seen.ttft_ms.append(1000 * (first_s - due_s))
        self.seen.e2e_ms.append(1000 * (last_s - due_s))
        return True

    async def _caller(self) -> Caller:
        while self._idle:
            caller = self._idle.pop()
            if caller.transport is not None:
                return caller
        loop = asyncio.get_running_loop()
        address = ("127.0.0.1", self._target.port)
        _, caller = await loop.create_connection(lambda: Caller(self._target.stream), *address)
        return caller

    async def open_loop(self, rate_rps: float, seconds: float, seed: int) -> None:
        """Send at Poisson moments and wait for the answers."""
        dice = random.Random(seed)
        start_s = time.perf_counter()
        due_s = start_s + dice.expovariate(rate_rps)
        under_way: list[asyncio.Task[bool]] = []
        while due_s < start_s + seconds:
            await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
            under_way.append(asyncio.create_task(self.one(len(under_way), due_s)))
            due_s += dice.expovariate(rate_rps)
        await asyncio.gather(*under_way)

    async def closed_loop(self, callers: int, seconds: float) -> float:
        """Let callers send one after another; returns answers per second of the window."""
        end_s = time.perf_counter() + seconds
        answered = 0

        async def caller(number: int) -> None:
            nonlocal answered
            while (now_s := time.perf_counter()) < end_s:
                good = await self.one(number, now_s)  # before the sum: others add meanwhile
                answered += good and time.perf_counter() < end_s
                number += callers

        await asyncio.gather(*(caller(number) for number in range(callers)))
        return answered / seconds


async def _run(given: argparse.Namespace) -> dict[str, object]:
    target = Target(given.port, given.model, given.stream, given.key)
    warm = Load(target)
    await warm.closed_loop(4, given.warm_up)
    load = Load(target)
    gc.freeze()
    gc.disable()
    rate_rps = None
    if given.rate:
        await load.open_loop(given.rate, given.seconds, given.seed)
    else:
        rate_rps = await load.closed_loop(given.callers, given.seconds)
    seen = load.seen
    return {
        "answers": len(seen.e2e_ms),
        "ttft_ms": percentiles(seen.ttft_ms),
        "e2e_ms": percentiles(seen.e2e_ms),
        "problems": dict(seen.problems),
        "requests_per_s": rate_rps,
    }


def percentiles(values: list[float]) -> dict[str, float]:
    """Return the median and the 99th percentile; nothing of fewer than two values."""
    if len(values) < 2:
        return {}
    cuts = quantiles(values, n=100)
    return {"p50": cuts[49], "p99": cuts[98]}


def main() -> None:
    """Load an endpoint and print what was seen as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", default="auto")
    parser.add_argument("--key", default="")
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--rate", type=float, help="open loop, requests/s; else closed loop")
    parser.add_argument("--callers", type=int, default=32, help="of a closed loop")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--warm-up", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    print(json.dumps(uvloop.run(_run(parser.parse_args()))))


if __name__ == "__main__":
    main()
