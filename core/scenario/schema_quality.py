"""How good answers are, in scenario files: of models alone, and of cascades."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field, model_validator

from core.domain.profile import Provenance
from core.scenario.section import Name, NotNegative, Section, Share

ROUNDING = 1e-9
Threshold = Annotated[float, Field(ge=-1e6, le=0)]


class QualityEntry(Section):
    """How good a model's answers on a class are."""

    model: Name = Field(description="One of `models`.")
    query_class: Name = Field(description="Query class.")
    n: Annotated[int, Field(ge=0, le=10**9)] = Field(description="Scored answers.")
    mean: Share = Field(description="Mean score, 0..1.")
    lower: Share | None = Field(
        None, description="Lower end of a 95 % interval; Wilson's for `n` when left out."
    )
    upper: Share | None = Field(None, description="Upper end; Wilson's when left out.")
    output_tokens_mean: NotNegative = Field(
        0.0, description="Mean answer length; 0 if unknown: the workload's is used."
    )
    measured_at: datetime | None = Field(None, description="With its time zone; else now.")
    metric: Annotated[str, Field(max_length=200)] = Field(
        "", description="What the scores are; the floor is in it."
    )
    provenance: Provenance = Field(Provenance.IMPORTED, description="Measured, or imported.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _require_interval(self.lower, self.mean, self.upper)
        return self


def _require_interval(lower: float | None, mean: float, upper: float | None) -> None:
    low, high = mean if lower is None else lower, mean if upper is None else upper
    if not low - ROUNDING <= mean <= high + ROUNDING:
        raise ValueError("lower must be at most mean, and mean at most upper")


class CascadeEntry(Section):
    """What becomes of a class when one model is asked first and another when it is unsure."""

    query_class: Name = Field(description="Query class.")
    model: Name = Field(description="One of `models`: asked first.")
    escalate_to: Name = Field(description="One of `models`: answers what the first is unsure of.")
    threshold: Threshold = Field(
        description="Least mean token log-probability of a first answer that is given."
    )
    escalated: Share = Field(description="Share of the queries that go on, 0..1.")
    n: Annotated[int, Field(ge=0, le=10**9)] = Field(description="Queries that both answered.")
    mean: Share = Field(description="Mean score of the answers that are given, 0..1.")
    lower: Share | None = Field(
        None, description="Lower end of a 95 % interval; Wilson's for `n` when left out."
    )
    upper: Share | None = Field(None, description="Upper end; Wilson's when left out.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _require_interval(self.lower, self.mean, self.upper)
        if self.model == self.escalate_to:
            raise ValueError("escalate_to must be another model")
        return self
