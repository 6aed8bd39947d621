"""Checks of answers without a known right one: judged in pairs, or beside the best model's."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from core.domain.intervals import wilson


class Verdict(StrEnum):
    """What a judge says of an answer beside the reference.

    UNREADABLE: the judge said none of the others; counts as a tie.
    """

    ANSWER = "answer"
    REFERENCE = "reference"
    TIE = "tie"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Judgement:
    """One answer compared with its reference twice, in both orders.

    Attributes:
        first: Verdict with the answer shown first.
        second: Verdict with the reference shown first.
        input_tokens: The judge's prompts, both together.
        output_tokens: The judge's words, both together.
    """

    job_id: str
    query: str
    query_class: str
    model: str
    first: Verdict
    second: Verdict
    input_tokens: int
    output_tokens: int

    @property
    def agrees(self) -> bool:
        """Whether both orders say the same; an unreadable verdict agrees with nothing."""
        return self.first is self.second and self.first is not Verdict.UNREADABLE

    @property
    def score(self) -> float:
        """1 when the answer is better in both orders, 0 when the reference is, else 0.5.

        A judge that changes its mind with the order prefers a place, not an answer: a tie
        (Zheng et al. 2023, arXiv 2306.05685, section 3.4).
        """
        if not self.agrees or self.first is Verdict.TIE:
            return 0.5
        return 1.0 if self.first is Verdict.ANSWER else 0.0


@dataclass(frozen=True, slots=True)
class JudgeReport:
    """How a judge did.

    Attributes:
        n: Answers judged.
        agreement: Share on which both orders agree; with its 95 % interval.
        first_shown: Share of readable verdicts for the one shown first, ties left out; 0.5 has no
            preference for a place. None without any.
        unreadable: Verdicts that could not be read, of 2 n.
        input_tokens, output_tokens: What the judge read and wrote.
    """

    n: int
    agreement: float
    agreement_lower: float
    agreement_upper: float
    first_shown: float | None
    unreadable: int
    input_tokens: int
    output_tokens: int

    def cost_usd(self, input_usd_per_million: float, output_usd_per_million: float) -> float:
        """Cost of the judge's tokens, $."""
        return (
            self.input_tokens * input_usd_per_million + self.output_tokens * output_usd_per_million
        ) / 1e6


def report_of(judgements: Sequence[Judgement]) -> JudgeReport:
    """Summarise judgements."""
    n = len(judgements)
    agreement = sum(its.agrees for its in judgements) / n if n else 0.0
    lower, upper = wilson(agreement, n)
    firsts = [its.first is Verdict.ANSWER for its in judgements if _decides(its.first)]
    firsts += [its.second is Verdict.REFERENCE for its in judgements if _decides(its.second)]
    verdicts = [verdict for its in judgements for verdict in (its.first, its.second)]
    return JudgeReport(
        n=n,
        agreement=agreement,
        agreement_lower=lower,
        agreement_upper=upper,
        first_shown=sum(firsts) / len(firsts) if firsts else None,
        unreadable=verdicts.count(Verdict.UNREADABLE),
        input_tokens=sum(its.input_tokens for its in judgements),
        output_tokens=sum(its.output_tokens for its in judgements),
    )


def _decides(verdict: Verdict) -> bool:
    return verdict in (Verdict.ANSWER, Verdict.REFERENCE)


@dataclass(frozen=True, slots=True)
class LiveCheck:
    """One live query that was also put to the best model; its text is not kept.

    Attributes:
        at: When it was compared (UTC).
        model: Model that the plan has answer it.
        best: Model it was compared with.
        metric: How answers are compared; that of the class's estimate.
        agrees: Whether both answers say the same, by the metric.
    """

    at: datetime
    query_class: str
    model: str
    best: str
    metric: str
    agrees: bool


@dataclass(frozen=True, slots=True)
class Drift:
    """Live agreement of a model with the best one in a class, beside what outcomes say.

    Attributes:
        n: Live queries compared.
        agreement: Share on which both say the same.
        lower, upper: Interval that holds at every moment with 95 %, so that it may be looked at
            again and again.
        expected: Least agreement that the outcomes leave: the share of queries that both answer
            right, at the lower end of its 95 % interval. None when too few queries were scored
            by both.
    """

    query_class: str
    model: str
    best: str
    n: int
    agreement: float
    lower: float
    upper: float
    expected: float | None

    @property
    def breached(self) -> bool:
        """Whether live traffic agrees less than outcomes allow for, beyond chance."""
        return self.expected is not None and self.upper < self.expected
