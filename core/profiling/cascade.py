"""One question along a route, as the gateway asks it: a second model when the first is unsure."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from core.domain.plan import ReplicaKind
from core.profiling.client import Answer
from core.routing.answer_lengths import AcceptedLengths
from core.routing.policy import Decision

Call = tuple[ReplicaKind, Answer]
"""An answer, and which kind of replica gave it."""
Ask = Callable[[str, float | None, int | None], Awaitable[Call]]
"""Asks a model. With a threshold, how sure it is too: an answer may be stopped that would not
reach it within so many tokens, or the most allowed."""


@dataclass(frozen=True, slots=True)
class Cascaded:
    """What came of a question.

    Attributes:
        answer: What a caller of the gateway would have got, and when; a first call's time is in
            it, and so is all of an accepted first answer before its first token.
        calls: Each call by itself, in order.
    """

    answer: Answer
    calls: tuple[Call, ...]

    @property
    def escalated(self) -> bool:
        """Whether a second model was asked."""
        return len(self.calls) > 1


async def cascaded(decision: Decision, ask: Ask, lengths: AcceptedLengths) -> Cascaded:
    """Ask the decision's model, and the one it escalates to when that is unsure or fails.

    Args:
        lengths: Of answers accepted before; learns from this one.
    """
    if not decision.escalate_to:
        only = await ask(decision.model, None, None)
        return Cascaded(only[1], (only,))
    of = decision.model, decision.query_class
    first = await ask(decision.model, decision.threshold, lengths.most(*of, None))
    _, answer = first
    unsure = answer.confidence is None or answer.confidence < decision.threshold
    if not unsure and not answer.error:
        lengths.accepted(*of, answer.output_tokens)
        held_back = None if answer.ttft_ms is None else answer.e2e_ms
        return Cascaded(replace(answer, ttft_ms=held_back), (first,))
    second = await ask(decision.escalate_to, None, None)
    return Cascaded(_after(answer.e2e_ms, second[1]), (first, second))


def _after(waited_ms: float, answer: Answer) -> Answer:
    ttft_ms = None if answer.ttft_ms is None else waited_ms + answer.ttft_ms
    return replace(answer, ttft_ms=ttft_ms, e2e_ms=waited_ms + answer.e2e_ms)
