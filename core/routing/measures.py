"""How good a router is: the measures of RouteLLM (arXiv 2406.18665, section 4), and calibration.

A router sends the queries with the highest score to the strong model. With a share c of strong
calls its quality is r(c); r(0) is the weak model's, r(1) the strong one's. Of the performance gap
it recovers

    PGR(c) = (r(c) - r(0)) / (r(1) - r(0)).

APGR is the area under PGR over c (random: 0.5); CPT(x) the least c with PGR(c) >= x.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BINS = 10


@dataclass(frozen=True)
class Curve:
    """Quality over the share of queries that the strong model answers.

    Attributes:
        share: n + 1 shares, from 0 to 1.
        quality: n + 1; mean score.
    """

    share: Floats
    quality: Floats

    @property
    def recovered(self) -> Floats:
        """n + 1; PGR. Not a number when both models are equally good."""
        weak, strong = self.quality[0], self.quality[-1]
        with np.errstate(divide="ignore", invalid="ignore"):
            gap: Floats = (self.quality - weak) / (strong - weak)
        return gap

    @property
    def apgr(self) -> float:
        """Area under PGR."""
        return float(np.trapezoid(self.recovered, self.share))

    def cpt(self, wanted: float) -> float:
        """Return the least share of strong calls that recovers `wanted` (0..1) of the gap."""
        recovered = self.recovered
        first = int(np.argmax(recovered >= wanted))
        if first == 0:
            return 0.0 if recovered[0] >= wanted else float("nan")
        low, high = recovered[first - 1], recovered[first]
        part = (wanted - low) / (high - low)
        return float(self.share[first - 1] + part * (self.share[first] - self.share[first - 1]))

    def at(self, share: float) -> float:
        """Return the quality at a share of strong calls."""
        return float(np.interp(share, self.share, self.quality))


def curve_of(score: Floats, weak: Floats, strong: Floats) -> Curve:
    """Return the curve of a router; queries of equal score are taken in random order, on average.

    Args:
        score: n; the highest go to the strong model first.
        weak, strong: n; what each model would score, 0..1.
    """
    distinct, group = np.unique(-score, return_inverse=True)
    size = np.bincount(group, minlength=len(distinct))
    gain = np.bincount(group, weights=strong - weak, minlength=len(distinct)) / size
    per_query = gain[np.repeat(np.arange(len(distinct)), size)]
    n = len(score)
    quality = weak.mean() + np.concatenate([[0.0], np.cumsum(per_query)]) / n
    return Curve(np.arange(n + 1) / n, quality)


def calibration_error(predicted: Floats, score: Floats, bins: int = BINS) -> float:
    """Return the ECE: mean |predicted - scored| over bins of equally many, weighted by size."""
    of_bins = reliability(predicted, score, bins)
    return float(of_bins[:, 2] @ np.abs(of_bins[:, 0] - of_bins[:, 1]) / of_bins[:, 2].sum())


def reliability(predicted: Floats, score: Floats, bins: int = BINS) -> Floats:
    """Return bins x 3: mean prediction, mean score and number of queries, by prediction."""
    order = np.argsort(predicted, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return np.array([(predicted[p].mean(), score[p].mean(), len(p)) for p in parts])


def auc(predicted: Floats, right: NDArray[np.bool_]) -> float:
    """Return the chance that a right query is ranked above a wrong one; ties count half.

    Not a number when all are right, or none.
    """
    wrong = np.sort(predicted[~right])
    if not len(wrong) or not right.any():
        return float("nan")
    below = np.searchsorted(wrong, predicted[right], "left")
    up_to = np.searchsorted(wrong, predicted[right], "right")
    return float((below + up_to).mean() / 2 / len(wrong))
