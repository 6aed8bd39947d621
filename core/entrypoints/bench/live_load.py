"""Steady load on a live gateway, plain and streaming in turn, and what became of every request.

Open loop: requests leave at Poisson moments whatever happens to earlier ones. An answer counts
only when it is whole: a stream with its end mark and a plain answer that parses, both with
exactly the tokens that were asked for.
"""

import asyncio
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

LONGEST_S = 180.0
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 2.0
TEXTS = ("What is 3 + 4?", "Add 12 and 30 and tell why.", "Prove that 7 * 8 is 56, step by step.")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the load is like.

    Attributes:
        port: Of the gateway.
        tokens: Length of every answer.
        rate_rps: Requests per second on average.
        seed: Of the moments.
        retry_s: For how long a caller tries again while nothing of an answer came, as OpenAI's
            clients do; 0 never.
    """

    port: int
    tokens: int
    rate_rps: float
    seed: int
    retry_s: float = 0.0

    def body(self, number: int) -> dict[str, Any]:
        """Return the body of a request; every second one streams."""
        messages = [{"role": "user", "content": TEXTS[number % len(TEXTS)]}]
        body = {"model": "auto", "messages": messages, "max_tokens": self.tokens}
        body |= {"ignore_eos": True, "temperature": 0}
        if number % 2:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body


@dataclass(slots=True)
class Fate:
    """One request.

    Attributes:
        began_s: When it left, monotonic seconds.
        ended_s: When its fate was known.
        first_s: When the first part of the answer that counts came; None when none did.
        problem: Why it failed or is not whole; empty for a whole answer.
        truncated: Whether a part of the answer had come.
        replica: Id of the replica that answered last.
        attempts: How often it was sent, with why the earlier ones did not do.
    """

    number: int
    began_s: float
    stream: bool
    ended_s: float = 0.0
    first_s: float | None = None
    problem: str = ""
    truncated: bool = False
    replica: str = ""
    attempts: list[str] = field(default_factory=list)


class _NotWholeError(Exception):
    """The answer is not what was asked for."""


class LiveLoad:
    """Load from a thread of its own; use as a context manager.

    Attributes:
        fates: Of the requests that ended.
    """

    def __init__(self, asked: Asked) -> None:
        self.fates: list[Fate] = []
        self._asked = asked
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> "LiveLoad":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether it sends."""
        return self._thread.is_alive()

    async def _run(self) -> None:
        dice = random.Random(self._asked.seed)
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=LONGEST_S)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            due_s, under_way = time.monotonic(), set[asyncio.Task[None]]()
            number = 0
            while not self._stop.is_set():
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                task = asyncio.create_task(self._one(session, number))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                number += 1
                due_s += dice.expovariate(self._asked.rate_rps)
            await asyncio.gather(*under_way)

    async def _one(self, session: aiohttp.ClientSession, number: int) -> None:
        fate = Fate(number, time.monotonic(), bool(number % 2))
        pause_s = FIRST_PAUSE_S
        while True:
            fate.problem = await self._attempt(session, fate)
            late = time.monotonic() + pause_s - fate.began_s > self._asked.retry_s
            if not fate.problem or fate.truncated or late:
                break
            fate.attempts.append(fate.problem)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        fate.ended_s = time.monotonic()
        self.fates.append(fate)

    async def _attempt(self, session: aiohttp.ClientSession, fate: Fate) -> str:
        """Send a request once; returns what was wrong with the answer."""
        url = f"http://127.0.0.1:{self._asked.port}/v1/chat/completions"
        try:
            async with session.post(url, json=self._asked.body(fate.number)) as answer:
                fate.replica = answer.headers.get("X-BOute-Replica", "")
                if answer.status != 200:
                    return f"{answer.status} {(await answer.text())[:200]}"
                if fate.stream:
                    await self._read_stream(answer, fate)
                else:
                    _require(json.loads(await answer.read()), self._asked.tokens)
        except _NotWholeError as error:
            fate.truncated = True
            return str(error)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            fate.truncated = fate.first_s is not None
            return f"{type(error).__name__} {error}"[:200]
        return ""

    async def _read_stream(self, answer: aiohttp.ClientResponse, fate: Fate) -> None:
        done, last = False, {}
        async for line in answer.content:
            if not line.startswith(b"data: "):
                continue
            fate.first_s = fate.first_s or time.monotonic()
            content = line.removeprefix(b"data: ").strip()
            if content == b"[DONE]":
                done = True
            else:
                last = json.loads(content)
                if "error" in last:
                    raise _NotWholeError(f"the stream says: {last['error'].get('message')}")
        if not done:
            raise _NotWholeError("the stream has no end")
        _require(last, self._asked.tokens)


def _require(document: dict[str, Any], tokens: int) -> None:
    made = (document.get("usage") or {}).get("completion_tokens")
    if made != tokens:
        raise _NotWholeError(f"{made} of {tokens} tokens")


def counts(fates: Sequence[Fate]) -> dict[str, Any]:
    """Return how requests fared, in figures."""
    bad = [fate for fate in fates if fate.problem]
    took_s = sorted(fate.ended_s - fate.began_s for fate in fates)
    return {
        "requests": len(fates),
        "streaming": sum(fate.stream for fate in fates),
        "failed": sum(not fate.truncated for fate in bad),
        "truncated": sum(fate.truncated for fate in bad),
        "sent_again": sum(bool(fate.attempts) for fate in fates),
        "most_in_flight": _most_at_once(fates),
        "longest_s": round(took_s[-1], 2) if took_s else None,
        "problems": dict(Counter(fate.problem for fate in bad)),
        "first_answers": dict(Counter(why[:90] for fate in fates for why in fate.attempts)),
    }


def _most_at_once(fates: Sequence[Fate]) -> int:
    moments = [(fate.began_s, 1) for fate in fates] + [(fate.ended_s, -1) for fate in fates]
    running = most = 0
    for _, change in sorted(moments):
        running += change
        most = max(most, running)
    return most
