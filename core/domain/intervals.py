"""Confidence intervals on a mean score, at 95 %."""

import math
import random
from collections.abc import Iterable, Sequence
from statistics import NormalDist

MISS = 0.05
Z_95 = NormalDist().inv_cdf(1 - MISS / 2)
MOST_STAKE = 0.75
PRECISION = 1e-6


def score_interval(scores: Sequence[float], miss: float = MISS) -> tuple[float, float]:
    """Return an interval on the mean of scores from 0 to 1.

    Answers that are right or wrong: `wilson`. Graded ones (BLEU, ROUGE, a judge's): `betting`.

    Args:
        miss: Probability that the interval misses the mean.
    """
    if all(score in (0.0, 1.0) for score in scores):
        z = NormalDist().inv_cdf(1 - miss / 2)
        return wilson(sum(scores) / max(1, len(scores)), len(scores), z)
    return betting(scores, miss)


def wilson(mean: float, n: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson score interval of a proportion (E. B. Wilson, JASA 22, 1927).

    Args:
        mean: Share of right answers, 0..1.
        n: Number of answers; 0 gives (0, 1).
        z: Normal quantile; 1.96 for 95 %.
    """
    if n == 0:
        return 0.0, 1.0
    shrink = 1 + z * z / n
    centre = (mean + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
    return max(0.0, min(mean, centre - half)), min(1.0, max(mean, centre + half))


def betting(scores: Sequence[float], miss: float = MISS) -> tuple[float, float]:
    """Interval on the mean of n independent scores from 0 to 1, whatever their distribution.

    The hedged betting interval of Waudby-Smith & Ramdas (Journal of the Royal Statistical Society
    B 86, 2024, theorem 3): a mean m is ruled out when betting against it, with stakes that depend
    on earlier scores only, multiplies the money by 2 / miss at any time. By Ville's inequality
    the true mean is ruled out with a probability of at most `miss`, for every n. A bootstrap's
    interval is narrower and promises nothing: of ten equal scores it has no width.

    Args:
        scores: In any order: they are taken in an order of its own that their values do not tell.
        miss: Probability that the interval misses the mean.
    """
    if not scores:
        return 0.0, 1.0
    drawn = sorted(scores)
    random.Random(len(drawn)).shuffle(drawn)
    return _bounds(drawn, _stakes(drawn, miss, len(drawn)), miss)


def betting_at_any_time(scores: Sequence[float], miss: float = MISS) -> tuple[float, float]:
    """Interval on the mean of scores from 0 to 1 that may be looked at after every score.

    As `betting`, with the stakes of a sequence without end (their section 4.2): the probability
    that it misses the mean at any moment at all is at most `miss`. Wider for that.

    Args:
        scores: In the order they came.
        miss: Probability that the interval ever misses the mean.
    """
    return _bounds(scores, _stakes(scores, miss, None), miss) if scores else (0.0, 1.0)


def _bounds(scores: Sequence[float], stakes: Sequence[float], miss: float) -> tuple[float, float]:
    mean = math.fsum(scores) / len(scores)
    staked = list(zip(scores, stakes, strict=True))
    enough = math.log(2 / miss)
    lower = _least_credible(staked, enough)
    upper = 1 - _least_credible([(1 - score, stake) for score, stake in staked], enough)
    return min(lower, mean), max(upper, mean)


def _stakes(scores: Iterable[float], miss: float, horizon: int | None) -> list[float]:
    """Return the stake on each score, from those before it (their section B.1)."""
    stakes, total, squares = [], 0.5, 0.25
    for count, score in enumerate(scores, 1):
        variance = squares / count
        spread_over = horizon or count * math.log(1 + count)
        stakes.append(math.sqrt(2 * math.log(2 / miss) / (spread_over * variance)))
        total += score
        squares += (score - total / (count + 1)) ** 2
    return stakes


def _least_credible(staked: Sequence[tuple[float, float]], enough: float) -> float:
    """Return the least mean that betting on higher scores does not rule out, by bisection."""
    low, high = 0.0, 1.0
    while high - low > PRECISION:
        middle = (low + high) / 2
        if _rules_out(staked, middle, enough):
            low = middle
        else:
            high = middle
    return low


def _rules_out(staked: Sequence[tuple[float, float]], mean: float, enough: float) -> bool:
    money, most = 0.0, MOST_STAKE / mean
    for score, stake in staked:
        money += math.log1p(min(stake, most) * (score - mean))
        if money >= enough:
            return True
    return False
