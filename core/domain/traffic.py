"""Request records: what the gateway saw."""

from dataclasses import dataclass
from datetime import datetime

from core.domain.tenant import Usage, utc_day


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
        confidence: Mean token log-probability of the first answer of a cascade; None when no
            cascade was asked or its first model gave none.
        first_model: Model of a cascade that was asked first and whose answer was thrown away;
            empty otherwise. Its tokens and cost are not in those above.
        first_input_tokens: Prompt tokens of that answer; None when unknown.
        first_output_tokens: Its tokens; None when unknown.
        first_cost_usd: What it cost; None when unknown.
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
    confidence: float | None = None
    first_model: str = ""
    first_input_tokens: int | None = None
    first_output_tokens: int | None = None
    first_cost_usd: float | None = None

    @property
    def usage(self) -> tuple[Usage, ...]:
        """What it used: of the model that answered, and of one whose answer was thrown away."""
        answered = self.status == 200
        tokens_in, tokens_out = self.input_tokens or 0, self.output_tokens or 0
        parts = []
        if self.model:
            tokens = (tokens_in, tokens_out) if answered else (0, 0)
            parts.append(self._used(self.model, int(answered), *tokens, self.cost_usd))
        if self.first_model:
            tokens = self.first_input_tokens or 0, self.first_output_tokens or 0
            parts.append(self._used(self.first_model, 0, *tokens, self.first_cost_usd))
        return tuple(parts)

    def _used(
        self, model: str, requests: int, tokens_in: int, tokens_out: int, cost_usd: float | None
    ) -> Usage:
        of = utc_day(self.at), self.tenant_id, self.key_id, model
        return Usage(*of, requests, tokens_in, tokens_out, cost_usd or 0.0)
