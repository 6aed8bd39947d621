"""Query classes made of predictions: bands of how much a query gains from the best model.

So a routing policy stays a table: a row per band, which an operator can read. Long queries cost
more, so bands may be split by length as well. How many there are is chosen by cross-validation.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidInput
from core.routing.kernels import BandTables, table
from core.routing.measures import curve_of

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
MOST_BANDS = 8
FEWEST_PER_CLASS = 50
"""Queries; the 95 % interval of a mean score is then within 14 points."""
WIDE_LENGTHS = 4.0
"""Longest tenth over shortest tenth from which long queries get classes of their own."""


@dataclass(frozen=True)
class Bands:
    """Where classes begin.

    Attributes:
        weak, strong: Positions of the worst and the best model.
        gain_edges: Gains at which the next band begins, rising.
        length_edges: Lengths of the text, in characters, at which the next band begins, rising.
    """

    weak: int
    strong: int
    gain_edges: Floats
    length_edges: Floats

    def __post_init__(self) -> None:
        for edges in (self.gain_edges, self.length_edges):
            if edges.ndim != 1 or not np.isfinite(edges).all() or (np.diff(edges) < 0).any():
                raise InvalidInput("The bands are not in order.", "Train the classifier again.")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the classes: least gain first, short before long."""
        count = len(self.gain_edges) + 1
        gains = [f"gain {band + 1} of {count}" for band in range(count)]
        if not len(self.length_edges):
            return tuple(gains)
        return tuple(f"{gain}, {length}" for gain in gains for length in ("short", "long"))

    @property
    def tables(self) -> BandTables:
        """Everything as compiled code takes it."""
        edges = (table(its, np.float64) for its in (self.gain_edges, self.length_edges))
        return BandTables(self.weak, self.strong, *edges)

    def gain(self, scores: Floats) -> Floats:
        """Return how much the strong model is expected to gain over the weak one.

        Args:
            scores: ... x M. Of one model alone, what is missing to a perfect score.
        """
        strong = scores[..., self.strong]
        gain: Floats = 1 - strong if self.weak == self.strong else strong - scores[..., self.weak]
        return gain

    def positions(self, scores: Floats, chars: NDArray[np.int64] | int) -> Integers:
        """Return positions in `names`.

        Args:
            scores: ... x M; predicted.
            chars: ...; lengths of the texts.
        """
        band = np.searchsorted(self.gain_edges, self.gain(scores), "right")
        part = np.searchsorted(self.length_edges, chars, "right")
        found: Integers = band * (len(self.length_edges) + 1) + part
        return found


def bands_of(predicted: Floats, scores: Floats, chars: Integers, fold: Integers) -> Bands:
    """Choose bands.

    Args:
        predicted: n x M; of queries the predictor did not see.
        scores: n x M; NaN where a model was not asked.
        chars: n; lengths of the texts.
        fold: n; the folds that the number of bands is validated over.
    """
    means = np.nanmean(scores, axis=0)
    weak, strong = int(np.argmin(means)), int(np.argmax(means))
    no_edges = np.zeros(0)
    whole = Bands(weak, strong, no_edges, no_edges)
    gain = whole.gain(predicted)
    asked = np.flatnonzero(~np.isnan(scores[:, [weak, strong]]).any(axis=1))
    real = whole.gain(scores)
    count = _best_count(gain[asked], real[asked], fold[asked])
    lengths = _length_edges(chars, count)
    return Bands(weak, strong, _edges(gain, count), lengths)


def _edges(gain: Floats, count: int) -> Floats:
    return np.unique(np.quantile(gain, np.arange(1, count) / count))


def _length_edges(chars: Integers, count: int) -> Floats:
    short, long = np.quantile(chars, (0.1, 0.9))
    if len(chars) < 2 * count * FEWEST_PER_CLASS or long < WIDE_LENGTHS * max(short, 1):
        return np.zeros(0)
    return np.array([np.median(chars)])


def _best_count(gain: Floats, real: Floats, fold: Integers) -> int:
    """Return how many bands route held-out queries best; of equally good ones the fewest.

    Bands are ranked by the other folds' mean gain in them; the measure is the area under the
    curve of gains collected in that order.
    """
    most = min(MOST_BANDS, len(gain) // FEWEST_PER_CLASS)
    if most < 2:
        return 1
    collected = [_collected(gain, real, fold, count) for count in range(1, most + 1)]
    return int(np.argmax(np.round(collected, 4))) + 1


def _collected(gain: Floats, real: Floats, fold: Integers, count: int) -> float:
    band = np.searchsorted(_edges(gain, count), gain, "right")
    areas = []
    for number in np.unique(fold):
        own = fold == number
        others = [real[~own & (band == which)] for which in range(count)]
        means = np.array([its.mean() if len(its) else 0.0 for its in others])
        curve = curve_of(means[band[own]], np.zeros(int(own.sum())), real[own])
        areas.append(np.trapezoid(curve.quality, curve.share))
    return float(np.mean(areas))
