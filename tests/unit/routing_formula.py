"""What classification computes, as plain Python: the slow oracle of the compiled kernels."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from core.routing.bands import Bands
from core.routing.features import DENSE, GRAMS, HASHED, KNOWN_WORDS
from core.routing.novelty import Novelty
from core.routing.predictor import Predictor, Trees

FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9
WORD = 2**64


def counts_of(codes: Sequence[int]) -> dict[int, float]:
    """Log(1 + how often) of each bucket of the 1- to 3-grams, in order of first occurrence."""
    single = [code * FIRST % WORD for code in codes]
    pairs = [
        (one ^ (code + SECOND) % WORD) * SECOND % WORD
        for one, code in zip(single, codes[1:], strict=False)
    ]
    triples = [
        (pair ^ (code + FIRST) % WORD) * FIRST % WORD
        for pair, code in zip(pairs, codes[2:], strict=False)
    ]
    buckets = Counter(mixed * GRAMS // WORD for mixed in (*single, *pairs, *triples))
    return {bucket: float(np.float32(math.log1p(n))) for bucket, n in buckets.items()}


def sums_of(trees: Trees, inputs: Sequence[float], models: int) -> list[float]:
    """What each model's trees add up to."""
    sums = [0.0] * models
    for owner, root in zip(trees.owner.tolist(), trees.roots.tolist(), strict=True):
        node = root
        while trees.left[node] != node:
            goes_left = inputs[trees.feature[node]] <= trees.threshold[node]
            node = int((trees.left if goes_left else trees.right)[node])
        sums[owner] += float(trees.value[node])
    return sums


def scores_of(its: Predictor, facts: Sequence[float], counts: dict[int, float]) -> list[float]:
    """Every model's expected score."""
    scaling, first = its.scaling, its.first
    weights = {g: n * float(scaling.rarity[g]) for g, n in counts.items()}
    length = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
    scaled = [
        min(max((fact - float(mean)) / float(spread), -4.0), 4.0)
        for fact, mean, spread in zip(facts, scaling.mean, scaling.spread, strict=True)
    ]
    inputs = [*facts]
    for m in range(len(its.models)):
        logit = sum(weight * float(first.of_grams[g, m]) for g, weight in weights.items()) / length
        logit += float(first.bias[m])
        for fact, weight in zip(scaled, first.of_facts[m], strict=True):
            logit += fact * float(weight)
        inputs.append(float(np.float32(logit)))
    sums = sums_of(its.trees, inputs, len(its.models))
    logits = [slope * s + offset for (slope, offset), s in zip(its.calibration, sums, strict=True)]
    return [1 / (1 + math.exp(-min(max(logit, -30.0), 30.0))) for logit in logits]


def is_new(its: Novelty, facts: Sequence[float], codes: Sequence[int]) -> bool:
    """Whether a query is unlike training."""
    words = {code % KNOWN_WORDS for code in codes}
    unknown = sum(not int(its.known[word // 8]) >> word % 8 & 1 for word in words)
    squares = [
        ((fact - float(middle)) / float(spread)) ** 2
        for fact, middle, spread in zip(facts, its.middle, its.spread, strict=True)
    ]
    share = unknown / len(words) if words else 0.0
    return share > its.limits[0] or math.sqrt(sum(squares) / DENSE) > its.limits[1]


def position_of(bands: Bands, scores: Sequence[float], chars: int) -> int:
    """Place of a query's class."""
    gain = scores[bands.strong] - scores[bands.weak]
    if bands.weak == bands.strong:
        gain = 1 - scores[bands.strong]
    band = sum(edge <= gain for edge in bands.gain_edges.tolist())
    part = sum(edge <= chars for edge in bands.length_edges.tolist())
    return band * (len(bands.length_edges) + 1) + part


def probabilities_of(
    weights: np.ndarray, bias: np.ndarray, facts: Sequence[float], counts: dict[int, float]
) -> list[float]:
    """Softmax of a given-class classifier's scores."""
    inputs = [*facts, *([0.0] * HASHED)]
    for bucket, count in counts.items():
        inputs[DENSE + bucket % HASHED] += count
    scores = [
        float(offset) + sum(float(w) * x for w, x in zip(row, inputs, strict=True))
        for row, offset in zip(weights, bias, strict=True)
    ]
    odds = [math.exp(score - max(scores)) for score in scores]
    return [its / sum(odds) for its in odds]
