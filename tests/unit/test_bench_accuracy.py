"""The arithmetic of `boute bench simulator`: errors, repeatability, what counts as met."""

import numpy as np
import pytest

from core.entrypoints.bench.accuracy import (
    STATISTICS,
    CaseResult,
    Statistics,
    measured_statistics,
    summary,
    worst,
)
from core.entrypoints.bench.validation import (
    CASES,
    MIXED,
    SHORT,
    Case,
    arrivals_s,
    requests_of,
)
from core.profiling.client import Answer
from core.profiling.load import Sent
from core.profiling.measuring import observed


def statistics(value: float) -> Statistics:
    return dict.fromkeys(STATISTICS, value)


def case(predicted: float, *measured: float, name: str = "a") -> CaseResult:
    return CaseResult(name, [statistics(m) for m in measured], statistics(predicted))


def test_error_is_against_the_mean_of_the_rounds() -> None:
    assert case(1.1, 0.9, 1.1).error("p95_e2e_s") == pytest.approx(0.1)


def test_repeatability_is_the_error_of_the_other_rounds() -> None:
    # 0.8 against 1.0, and twice 1.0 against 0.9.
    found = case(1.0, 0.8, 1.0, 1.0).repeatability("mean_e2e_s")
    assert found == pytest.approx((0.2 + 2 * (1 / 0.9 - 1)) / 3)
    assert np.isnan(case(1.0, 1.0).repeatability("mean_e2e_s"))


def test_an_error_within_repeatability_is_met_but_not_within_the_bar() -> None:
    noisy = [case(1.1, 0.85, 1.0, 1.15), case(1.1, 0.9, 1.0, 1.1)]
    row = summary(noisy)["mean_e2e_s"]
    assert row["median_absolute_error"] == pytest.approx(0.1)
    assert row["within_bar"] is False
    assert row["met"] is True
    steady = summary([case(1.1, 1.0, 1.0, 1.0)])["mean_e2e_s"]
    assert steady["met"] is False


def test_the_worst_cases_come_first_whatever_their_sign() -> None:
    cases = [case(1.01, 1.0), case(0.5, 1.0, name="low"), case(1.3, 1.0, name="high")]
    assert [w["workload"] for w in worst(cases)] == ["low"] * 4 + ["high"]


def test_a_workload_repeats_its_lengths_but_never_its_text() -> None:
    first, again = (requests_of(MIXED, 50, 7, number) for number in (0, 1))
    assert [(len(r.text), r.output_tokens) for r in first] == [
        (len(r.text), r.output_tokens) for r in again
    ]
    assert not {r.text[:16] for r in first} & {r.text[:16] for r in again}


@pytest.mark.parametrize("burstiness", [1.0, 2.0])
def test_arrivals_have_the_rate_and_the_burstiness(burstiness: float) -> None:
    gaps = np.diff(arrivals_s(4.0, 20_000, burstiness, 3))
    assert gaps.mean() == pytest.approx(0.25, rel=0.05)
    assert gaps.std() / gaps.mean() == pytest.approx(burstiness, rel=0.05)


def test_the_workloads_cover_what_they_should() -> None:
    assert len({c.name for c in CASES}) == len(CASES) >= 12
    assert {c.load for c in CASES} >= {0.5, 0.75, 0.9}
    assert {c.replicas for c in CASES} == {1, 2}
    assert any(c.burstiness > 1 for c in CASES)
    assert Case(SHORT, 0.9, 2, 2.0).name == "short at 90%, bursty (CV 2), 2 replicas"


def test_the_statistics_are_those_of_what_was_answered() -> None:
    good = Answer("x", 10.0, 50.0, 3, 4)
    bad = Answer("", None, 5.0, 0, 0, error="gone")
    seen = observed([Sent(0.5, good), Sent(0.6, bad)])
    assert measured_statistics(seen) == {
        "mean_e2e_s": 0.05,
        "p50_e2e_s": 0.05,
        "p95_e2e_s": 0.05,
        "p95_ttft_s": 0.01,
    }
