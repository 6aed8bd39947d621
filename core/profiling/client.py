"""An OpenAI chat client that measures: one streamed question, its times and its token counts."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from core.routing.confidence import Confidence

REQUEST_TIMEOUT_S = 120.0
UNSURE = "Stopped: it would have been too unsure."


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, or why nothing did.

    Attributes:
        text: The answer's text so far.
        ttft_ms: From sending to the first content; None when none came.
        e2e_ms: From sending to the end.
        input_tokens: Prompt tokens as the engine counted them.
        output_tokens: Answer tokens as the engine counted them.
        error: Why it failed; empty when it did not.
        headers: Response headers, lower case.
        confidence: Mean token log-probability; None when it was not asked for, or not told.
        transient: Whether the same question may well succeed a little later: the server was
            not reached, broke off, or said that the fault is its own (HTTP 5xx, 429).
    """

    text: str
    ttft_ms: float | None
    e2e_ms: float
    input_tokens: int
    output_tokens: int
    error: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    transient: bool = False
    confidence: float | None = None

    @property
    def tpot_ms(self) -> float | None:
        """Time per output token after the first; None for answers of one token or none."""
        if self.ttft_ms is None or self.output_tokens < 2:
            return None
        return (self.e2e_ms - self.ttft_ms) / (self.output_tokens - 1)


def open_session(timeout_s: float = REQUEST_TIMEOUT_S) -> aiohttp.ClientSession:
    """Return a session without a limit on connections: the load decides, not the client.

    Args:
        timeout_s: Longest time one answer may take, from sending to its end.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=timeout_s),
    )


async def ask(
    session: aiohttp.ClientSession,
    base_url: str,
    model: str,
    text: str,
    max_tokens: int,
    *,
    exact: bool = False,
    cache_salt: str = "",
    logprobs: bool = False,
    unsure_below: float | None = None,
    likely_tokens: int | None = None,
) -> Answer:
    """Send one user message, streamed, at temperature 0. Failures are values, not exceptions.

    Args:
        exact: Have exactly `max_tokens` tokens made, whatever the model would say: its
            end-of-sequence token does not end the answer, and shows as text, so that it counts
            as a first token too. Both are vLLM's extensions of the protocol.
        cache_salt: Only requests of the same salt share the prefix cache (vLLM's extension); a
            new one per request keeps an answer from being quicker because its question was asked
            before. Empty for none.
        logprobs: Have the engine tell how sure it was of each token.
        unsure_below: Have it tell, and stop reading, and with that the engine, once the answer's
            confidence is certain to end below this.
        likely_tokens: Longest answer to reckon with for that; None for `max_tokens`.
    """
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": max_tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if exact:
        body |= {"ignore_eos": True, "skip_special_tokens": False}
    if cache_salt:
        body["cache_salt"] = cache_salt
    if logprobs or unsure_below is not None:
        body["logprobs"] = True
    reading = _Reading()
    try:
        async with session.post(f"{base_url}/v1/chat/completions", json=body) as response:
            reading.headers = {k.lower(): v for k, v in response.headers.items()}
            if response.status != 200:
                reading.error = f"HTTP {response.status}: {(await response.text())[:300]}"
                reading.transient = response.status >= 500 or response.status == 429
            else:
                most = min(max_tokens, likely_tokens or max_tokens)
                await reading.read(response.content, unsure_below, most)
    except TimeoutError:
        reading.error = f"No complete answer within {session.timeout.total:g} s."
    except (aiohttp.ClientError, ValueError) as error:
        reading.error = f"{type(error).__name__}: {error}"
        reading.transient = isinstance(error, aiohttp.ClientError)
    return reading.answer()


class _Reading:
    """Collects one server-sent-event stream."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.error = ""
        self.transient = False
        self._sent_s = time.perf_counter()
        self._first_s: float | None = None
        self._parts: list[str] = []
        self._usage: dict[str, Any] = {}
        self._done = False
        self._confidence = Confidence()

    async def read(
        self, stream: aiohttp.StreamReader, unsure_below: float | None, most_tokens: int
    ) -> None:
        """Read events to the end, or until the answer is certain to be an unsure one."""
        async for line in stream:
            if line.startswith(b"data:"):
                self._event(line[5:].strip())
            if unsure_below is not None and self._confidence.hopeless(unsure_below, most_tokens):
                self.error = UNSURE
                return

    def answer(self) -> Answer:
        """Return what was collected."""
        now_s = time.perf_counter()
        if not self.error and not self._done:
            self.error = "The stream ended before [DONE]."
            self.transient = True
        return Answer(
            text="".join(self._parts),
            ttft_ms=None if self._first_s is None else (self._first_s - self._sent_s) * 1000,
            e2e_ms=(now_s - self._sent_s) * 1000,
            input_tokens=int(self._usage.get("prompt_tokens", 0)),
            output_tokens=int(self._usage.get("completion_tokens", 0)),
            error=self.error,
            headers=self.headers,
            transient=self.transient,
            confidence=self._confidence.mean,
        )

    def _event(self, data: bytes) -> None:
        if data == b"[DONE]":
            self._done = True
            return
        event = json.loads(data)
        if not isinstance(event, dict):
            raise ValueError(f"an event is not an object: {data[:100]!r}")
        if event.get("error"):
            self.error = f"The server says: {_message(event['error'])}"
        self._usage = event.get("usage") or self._usage
        for choice in event.get("choices") or []:
            self._confidence.add(choice)
            content = (choice.get("delta") or {}).get("content")
            if content:
                self._first_s = self._first_s or time.perf_counter()
                self._parts.append(content)


def _message(error: Any) -> str:
    return str(error.get("message", error) if isinstance(error, dict) else error)[:300]
