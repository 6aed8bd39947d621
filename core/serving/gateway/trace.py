"""What becomes known about one request on its way; ends as headers and as a record."""

import math
import time
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import quote

from aiohttp import web

from core.domain.ids import new_id, utc_now
from core.domain.traffic import RequestRecord
from core.serving.gateway.access import Caller
from core.serving.gateway.body import Ask
from core.serving.gateway.sse import Usage

LONGEST_NAME = 256
CALLER_GONE = 499  # what nginx made customary for "the client closed the connection"


@dataclass(frozen=True, slots=True)
class FirstCall:
    """The call of a cascade whose answer, if there was one, was thrown away."""

    model: str
    usage: Usage
    cost_usd: float | None


@dataclass
class Trace:
    """One request.

    Attributes:
        status: What the caller got; 500 until something better is known.
        answered: Whether the replica gave an answer, be it an error of its own.
        deadline_s: When the answer must have ended, in the event loop's time.
        response: The stream, once it has begun.
        caller: Whose key it came with; None without one.
        cost_usd: What the answer cost; None when unknown or there was none.
        escalate_to: Model to ask instead when `model` is unsure of its answer; empty for none.
        threshold: Mean token log-probability below which it counts as unsure.
        confidence: That of the first answer of a cascade.
        first: The call that was escalated from.
    """

    request_id: str = field(default_factory=new_id)
    at: datetime = field(default_factory=utc_now)
    started_s: float = field(default_factory=time.perf_counter)
    deadline_s: float = math.inf
    response: web.StreamResponse | None = None
    requested_model: str = ""
    query_class: str = ""
    model: str = ""
    replica_id: str = ""
    plan_id: str = ""
    status: int = 500
    answered: bool = False
    first_byte_s: float | None = None
    usage: Usage = field(default_factory=Usage)
    streamed: bool = False
    prompt: str | None = None
    caller: Caller | None = None
    cost_usd: float | None = None
    escalate_to: str = ""
    threshold: float = 0.0
    confidence: float | None = None
    first: FirstCall | None = None

    @property
    def spent_usd(self) -> float:
        """What was spent so far, on the first call too."""
        return (self.cost_usd or 0.0) + (self.first.cost_usd or 0.0 if self.first else 0.0)

    @property
    def used_tokens(self) -> int:
        """Prompt and answer tokens so far, of the first call too."""
        calls = [self.usage, *([self.first.usage] if self.first else [])]
        return sum((u.input_tokens or 0) + (u.output_tokens or 0) for u in calls)

    def escalate(self) -> None:
        """Turn from the first model of a cascade to the next one."""
        self.first = FirstCall(self.model, self.usage, self.cost_usd)
        self.model, self.escalate_to = self.escalate_to, ""
        self.replica_id, self.answered, self.status = "", False, 500
        self.usage, self.cost_usd = Usage(), None

    def note(self, ask: Ask, *, with_prompt: bool) -> None:
        """Take over what the caller asked for."""
        self.requested_model = storable(ask.model)[:LONGEST_NAME]
        self.streamed = ask.stream
        if with_prompt and ask.text is not None:
            self.prompt = storable(ask.text)

    def note_bytes(self) -> None:
        """Remember when the first byte of the answer came."""
        if self.first_byte_s is None:
            self.first_byte_s = time.perf_counter()

    @property
    def headers(self) -> dict[str, str]:
        """The decision as response headers, as far as it is known."""
        known = {
            "Class": self.query_class,
            "Model": self.model,
            "Replica": self.replica_id,
            "Plan": self.plan_id,
            "Request-Id": self.request_id,
            "Escalated-From": self.first.model if self.first else "",
            "Confidence": "" if self.confidence is None else f"{self.confidence:.4f}",
        }
        return {f"X-BOute-{name}": _sayable(value) for name, value in known.items() if value}

    def record(self) -> RequestRecord:
        """Return the record of the finished request."""
        first = self.first
        return RequestRecord(
            request_id=self.request_id,
            at=self.at,
            requested_model=self.requested_model,
            query_class=self.query_class,
            model=self.model if self.answered else "",
            replica_id=self.replica_id if self.answered else "",
            plan_id=self.plan_id,
            status=self.status,
            ttft_ms=self._since_start_ms(self.first_byte_s) if self.first_byte_s else None,
            e2e_ms=self._since_start_ms(time.perf_counter()),
            input_tokens=self.usage.input_tokens,
            output_tokens=self.usage.output_tokens,
            streamed=self.streamed,
            prompt=self.prompt,
            tenant_id=self.caller.tenant.tenant_id if self.caller else "",
            key_id=self.caller.key_id if self.caller else "",
            cost_usd=self.cost_usd if self.answered else None,
            confidence=self.confidence,
            first_model=first.model if first else "",
            first_input_tokens=first.usage.input_tokens if first else None,
            first_output_tokens=first.usage.output_tokens if first else None,
            first_cost_usd=first.cost_usd if first else None,
        )

    def _since_start_ms(self, at_s: float) -> float:
        return 1000 * (at_s - self.started_s)


def _sayable(value: str) -> str:
    """Return a name as a header may hold it; what is not plain ASCII is percent-encoded."""
    return value if value.isascii() and value.isprintable() else quote(value)


def storable(text: str) -> str:
    """Return text as every database takes it: no lone surrogates, no NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
