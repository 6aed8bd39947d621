"""Reads the first answer of a cascade as it comes: how sure it is, and whether to read on."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from core.routing.confidence import Confidence
from core.serving.gateway.body import Ask
from core.serving.gateway.sse import Usage, usage_of

STEERED = (
    "tools",
    "functions",
    "logit_bias",
    "logits_processors",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "use_beam_search",
    "echo",
)
"""Fields with which log-probabilities are not what thresholds were calibrated on: the model does
not choose its words freely, calls a tool instead of answering, or repeats the prompt."""
SEVERAL = ("n", "best_of")
DATA = b"data:"
DONE = b"[DONE]"
GROWS = ("content", "text", "refusal", "reasoning", "reasoning_content")
"""Fields of a choice whose parts are put together; of others the last one counts."""


def can_be_judged(payload: Mapping[str, Any]) -> bool:
    """Whether the mean token log-probability of an answer would say how good it is."""
    if any(payload.get(name) for name in STEERED):
        return False
    if any(payload.get(name) not in (None, 1) for name in SEVERAL):
        return False
    wanted = payload.get("response_format")
    if isinstance(wanted, Mapping) and wanted.get("type", "text") != "text":
        return False
    return not isinstance(payload.get("prompt"), list)


def telling(ask: Ask) -> Ask:
    """Return the request as a stream with log-probabilities, and token counts on every event."""
    options = {**(ask.payload.get("stream_options") or {}), "continuous_usage_stats": True}
    changes: dict[str, Any] = {"stream": True, "stream_options": options}
    if not _asks_for_logprobs(ask.payload):
        # The text endpoint takes a number of alternatives; the chosen token always comes.
        changes["logprobs"] = True if "messages" in ask.payload else 0
    return replace(ask, payload={**ask.payload, **changes}, stream=True)


class FirstAnswer:
    """The answer to `telling(ask)`, held back.

    Args:
        ask: What the caller asked.
        threshold: Mean token log-probability from which on the answer is accepted.
        most_tokens: Longest answer to reckon with; None when nothing bounds it.

    Attributes:
        usage: Tokens so far, as the engine counted them.
        events: Events so far: about one per token.
    """

    def __init__(self, ask: Ask, threshold: float, most_tokens: int | None) -> None:
        self.usage = Usage()
        self.events = 0
        self._ask = ask
        self._threshold = threshold
        self._most_tokens = most_tokens
        self._confidence = Confidence()
        self._rest = b""
        self._answer: list[dict[str, Any]] = []
        self._ended = self._broken = False

    @property
    def confidence(self) -> float | None:
        """Mean token log-probability so far; None when nothing tells it."""
        return None if self._broken else self._confidence.mean

    @property
    def accepted(self) -> bool:
        """Whether the answer is whole and sure enough."""
        confidence = self.confidence
        return self._ended and confidence is not None and confidence >= self._threshold

    @property
    def hopeless(self) -> bool:
        """Whether the answer will not be accepted, however it goes on."""
        if self._broken or self._most_tokens is None:
            return self._broken
        return self._confidence.hopeless(self._threshold, self._most_tokens)

    def feed(self, chunk: bytes) -> None:
        """Take bytes from the engine."""
        lines = (self._rest + chunk).splitlines(keepends=True)
        self._rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        for line in lines:
            if line.startswith(DATA):
                self._take(line[len(DATA) :].strip())

    def content(self) -> bytes:
        """Return the body for the caller, without what only the judgement needed."""
        hides = not _asks_for_logprobs(self._ask.payload)
        for event in self._answer:
            for choice in event["choices"]:
                if hides and "logprobs" in choice:
                    choice["logprobs"] = None
        return self._stream() if self._ask.stream else self._document()

    def _take(self, data: bytes) -> None:
        if data == DONE:
            self._ended = True
            return
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            event = None
        choices = event.get("choices") if isinstance(event, dict) else None
        if not isinstance(choices, list) or not all(
            isinstance(choice, dict) for choice in choices
        ):
            self._broken = True  # an error, or something else that is no answer
            return
        self.events += 1
        self.usage = usage_of(event) or self.usage
        for choice in choices:
            self._confidence.add(choice)
        self._answer.append(event)

    def _stream(self) -> bytes:
        options = self._ask.payload.get("stream_options") or {}
        parts = []
        for event in self._answer:
            if event["choices"] and not options.get("continuous_usage_stats"):
                event.pop("usage", None)
            if event["choices"] or self._ask.wants_usage:
                parts.append(b"data: " + _encoded(event) + b"\n\n")
        return b"".join([*parts, b"data: [DONE]\n\n"])

    def _document(self) -> bytes:
        """Put the parts together as the engine would have."""
        whole: dict[str, Any] = {}
        chat = "messages" in self._ask.payload
        choice: dict[str, Any] = {
            "index": 0,
            **({"message": {"role": "assistant"}} if chat else {}),
        }
        for event in self._answer:
            for part in event.pop("choices"):
                if "delta" in part:
                    part["message"] = part.pop("delta")
                _merge(choice, part)
            _merge(whole, event)
        if isinstance(whole.get("object"), str):
            whole["object"] = whole["object"].removesuffix(".chunk")
        return _encoded({**whole, "choices": [choice]})


def _merge(whole: dict[str, Any], part: Mapping[str, Any]) -> None:
    for name, value in part.items():
        before = whole.get(name)
        if value is None:
            whole.setdefault(name, None)
        elif isinstance(value, dict) and isinstance(before, dict):
            _merge(before, value)
        elif isinstance(value, list) and isinstance(before, list):
            before.extend(value)
        elif isinstance(value, str) and isinstance(before, str) and name in GROWS:
            whole[name] = before + value
        else:
            whole[name] = value


def _asks_for_logprobs(payload: Mapping[str, Any]) -> bool:
    wanted = payload.get("logprobs")
    if "messages" in payload:
        return bool(wanted)
    return wanted is not None and wanted is not False  # 0 is a number of alternatives


def _encoded(answer: Any) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode()
