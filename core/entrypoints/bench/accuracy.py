"""What predictions are worth: errors against repeated measurements, beside the machine's own.

For a statistic x of a workload that was measured in R rounds, m the mean of its R values:

    error         = |predicted / m - 1|
    repeatability = mean over rounds of |x_r / (mean of the other rounds) - 1|

so repeatability is the error of the best predictor there is on this machine: the same workload,
measured another time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.domain.observation import Observations
from core.estimate.simulator import Timeline
from core.estimate.simulator.spec import Floats

STATISTICS = ("mean_e2e_s", "p50_e2e_s", "p95_e2e_s", "p95_ttft_s")
BARS: Mapping[str, float] = {
    "mean_e2e_s": 0.05,
    "p50_e2e_s": 0.05,
    "p95_e2e_s": 0.09,
    "p95_ttft_s": 0.09,
}
WITHIN_REPEATABILITY = 1.25
WORST_SHOWN = 5

Statistics = dict[str, float]


def measured_statistics(seen: Observations) -> Statistics:
    """Return the statistics of measured answers."""
    return _statistics(np.frombuffer(seen.ttft_s), np.frombuffer(seen.e2e_s))


def predicted_statistics(seen: Timeline) -> Statistics:
    """Return the statistics of simulated answers."""
    return _statistics(seen.ttft_s, seen.e2e_s)


def _statistics(ttft_s: Floats, e2e_s: Floats) -> Statistics:
    return {
        "mean_e2e_s": float(np.mean(e2e_s)),
        "p50_e2e_s": float(np.percentile(e2e_s, 50)),
        "p95_e2e_s": float(np.percentile(e2e_s, 95)),
        "p95_ttft_s": float(np.percentile(ttft_s, 95)),
    }


@dataclass(frozen=True)
class CaseResult:
    """One workload: R rounds with the same arrivals and lengths, and what was predicted for them.

    Attributes:
        measured: R; statistics of each round.
        predicted: The simulator's.
    """

    name: str
    measured: Sequence[Statistics]
    predicted: Statistics

    def error(self, statistic: str) -> float:
        """Signed relative error against the mean of the rounds."""
        return self.predicted[statistic] / _mean(self.measured, statistic) - 1

    def repeatability(self, statistic: str) -> float:
        """Mean relative difference of a round from the mean of the others; NaN for one round."""
        values = np.array([m[statistic] for m in self.measured])
        if len(values) < 2:
            return float("nan")
        others = (values.sum() - values) / (len(values) - 1)
        return float(np.mean(np.abs(values / others - 1)))

    def told(self) -> dict[str, object]:
        """Return it as JSON."""
        return {
            "workload": self.name,
            "measured": {s: _mean(self.measured, s) for s in STATISTICS},
            "predicted": self.predicted,
            "error": {s: self.error(s) for s in STATISTICS},
            "repeatability": {s: self.repeatability(s) for s in STATISTICS},
        }


def _mean(rounds: Sequence[Statistics], statistic: str) -> float:
    return float(np.mean([r[statistic] for r in rounds]))


def summary(cases: Sequence[CaseResult]) -> dict[str, dict[str, object]]:
    """Return per statistic the median absolute error, the repeatability and whether it is met."""
    found: dict[str, dict[str, object]] = {}
    for statistic in STATISTICS:
        error = float(np.median([abs(c.error(statistic)) for c in cases]))
        repeatability = float(np.median([c.repeatability(statistic) for c in cases]))
        bar = max(BARS[statistic], WITHIN_REPEATABILITY * repeatability)
        found[statistic] = {
            "median_absolute_error": error,
            "repeatability": repeatability,
            "bar": BARS[statistic],
            "within_bar": error <= BARS[statistic],
            "met": error <= bar,
        }
    return found


def worst(cases: Sequence[CaseResult]) -> list[dict[str, object]]:
    """Return the largest errors, largest first."""
    errors = [
        {
            "workload": case.name,
            "statistic": statistic,
            "error": case.error(statistic),
            "repeatability": case.repeatability(statistic),
        }
        for case in cases
        for statistic in STATISTICS
    ]
    ranked = sorted(errors, key=lambda e: abs(float(str(e["error"]))), reverse=True)
    return ranked[:WORST_SHOWN]
