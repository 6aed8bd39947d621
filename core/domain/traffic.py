"""Request records: what the gateway saw."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request through the gateway.

    Attributes:
        at: When it arrived (UTC).
        requested_model: What the caller asked for, `auto` or a name.
        query_class: Class the classifier gave it; empty when it was not classified.
        model: Model that answered; empty when none did.
        replica_id: Replica that answered; empty when none did.
        plan_id: Plan that was active.
        status: HTTP status returned to the caller.
        ttft_ms: To the first byte of the answer's body; None without an answer.
        e2e_ms: To the last byte.
        input_tokens: Prompt tokens as the engine counted them; None when unknown.
        output_tokens: Answer tokens as the engine counted them; None when unknown.
        prompt: Prompt text; only when the operator switched it on.
        tenant_id: Whose key it came with; empty without a key.
        key_id: The key; empty without one.
        cost_usd: Device time its tokens take on a fully used replica, at the price in force; None
            when no model answered or its speed or price is unknown.
    """

    request_id: str
    at: datetime
    requested_model: str
    query_class: str
    model: str
    replica_id: str
    plan_id: str
    status: int
    ttft_ms: float | None
    e2e_ms: float
    input_tokens: int | None
    output_tokens: int | None
    streamed: bool = False
    prompt: str | None = None
    tenant_id: str = ""
    key_id: str = ""
    cost_usd: float | None = None
