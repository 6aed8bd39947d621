"""Cascades: a small model answers first, a large one answers when the small one was unsure."""

from dataclasses import dataclass

CascadeKey = tuple[str, str, str, float]


@dataclass(frozen=True, slots=True, order=True)
class CascadeEstimate:
    """What a cascade does with a query class, from outcomes of both models on the same queries.

    Attributes:
        model: Model asked first.
        escalate_to: Model that answers instead when the first one's confidence is too low.
        threshold: Mean token log-probability (natural logarithm, at most 0) of the first answer
            below which the query goes on.
        escalated: Share (0..1) of the queries that go on.
        n: Queries that both models answered.
        mean: Mean score of the answers that are given.
        lower: Lower bound of its 95 % interval.
        upper: Upper bound.
    """

    query_class: str
    model: str
    escalate_to: str
    threshold: float
    escalated: float
    n: int
    mean: float
    lower: float
    upper: float

    @property
    def key(self) -> CascadeKey:
        """What tells it from other cascades: class, both models, threshold."""
        return self.query_class, self.model, self.escalate_to, self.threshold
