"""Which plans are offered for deployment."""

from dataclasses import replace

import pytest

from core.domain.offer import broken_limits, doubts, objections
from core.domain.plan import PlanScore
from core.domain.profile import Provenance
from core.domain.study import Limits

SCORE = PlanScore(
    Provenance.PREDICTED,
    cost_usd_per_hour=1.0,
    cost_usd_per_million_tokens=2.0,
    p50_e2e_s=0.5,
    p95_e2e_s=0.8,
    p95_ttft_s=0.1,
    quality_mean=0.9,
    quality_lower=0.85,
    utilisation=0.5,
    p95_e2e_low_s=0.7,
    p95_e2e_high_s=0.95,
)


def test_a_plan_is_offered_when_the_upper_end_is_within_the_wanted_latency() -> None:
    assert objections(SCORE, Limits(0.85, None, 0.95)) == ()
    (why,) = objections(SCORE, Limits(0.85, None, 0.94))
    assert "up to 0.95 s (95% confidence)" in why
    (why,) = objections(SCORE, Limits(0.85, None, 0.7))
    assert "P95 of 0.8 s is above the wanted 0.7 s" in why


def test_without_a_wanted_latency_only_hard_limits_count() -> None:
    unsure = replace(SCORE, p95_e2e_high_s=None)
    assert objections(unsure, Limits(0.85)) == ()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"p95_e2e_high_s": None}, "nothing bounds its P95"),
        ({"p95_e2e_high_s": None, "p95_e2e_low_s": None}, "How sure its P95 is, is unknown"),
    ],
)
def test_a_plan_without_an_upper_end_is_not_offered(changes: dict[str, None], says: str) -> None:
    assert any(says in why for why in doubts(replace(SCORE, **changes), Limits(0.85, None, 10)))


def test_a_measured_latency_without_an_interval_is_taken_as_it_is() -> None:
    measured = replace(
        SCORE, provenance=Provenance.MEASURED, p95_e2e_low_s=None, p95_e2e_high_s=None
    )
    assert doubts(measured, Limits(0.85, None, 0.8)) == ()
    assert doubts(measured, Limits(0.85, None, 0.79))


def test_hard_limits_come_first() -> None:
    broken = replace(SCORE, violations=("Costs too much.",))
    assert objections(broken, Limits(0.85, None, 0.1)) == ("Costs too much.",)
    assert broken_limits(replace(SCORE, p95_e2e_s=None), Limits()) == (
        "It cannot keep up with the traffic.",
    )
    (why,) = broken_limits(SCORE, Limits(0.86))
    assert "below the floor of 0.860" in why
