"""The inner loops of classification, compiled: one call from a query's words to its class.

A query at the gateway has a tenth of a millisecond for this. Plain functions on plain arrays; the
modules that call them explain the formulas. They stand in one file because numba's cache on disk
notices changes of the file only.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.routing.compiling import compiled

Singles = NDArray[np.float32]
Floats = NDArray[np.float64]
Codes = NDArray[np.uint64]
Places = NDArray[np.int64]
Integers = NDArray[np.int32]
Bits = NDArray[np.uint8]
# Odd 64-bit constants (of splitmix64) that spread the codes of neighbouring words.
_FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9)
GRAM_BITS = 16
WORD_BITS = 18
_GRAM_SHIFT, _WORD_MASK = np.uint64(64 - GRAM_BITS), np.uint64(2**WORD_BITS - 1)
FURTHEST = 4.0
"""In standard deviations; facts further off count as this far."""
DEEPEST = 16
"""Steps from a tree's root, at most: trees read from a damaged file end as well."""
STEEPEST = 30.0
"""Logits beyond it are as good as certain."""


class NoveltyTables(NamedTuple):
    """What `core.routing.novelty.Novelty` knows: see there."""

    known: Bits
    middle: Singles
    spread: Singles
    limits: Floats


class PredictorTables(NamedTuple):
    """What `core.routing.predictor.Predictor` knows: see there."""

    mean: Singles
    spread: Singles
    rarity: Singles
    of_facts: Singles
    of_grams: Singles
    bias: Singles
    owner: Integers
    roots: Integers
    feature: Integers
    threshold: Floats
    left: Integers
    right: Integers
    value: Floats
    calibration: Floats


class BandTables(NamedTuple):
    """What `core.routing.bands.Bands` knows: see there."""

    weak: int
    strong: int
    gain_edges: Floats
    length_edges: Floats


class NamedTables(NamedTuple):
    """What `core.routing.classifier.Classifier` knows: classes x features, and one per class."""

    weights: Singles
    bias: Singles


def table(values: NDArray[Any], kind: type[np.generic]) -> NDArray[Any]:
    """Return an array as compiled code takes it: one form each, or it is compiled again."""
    return np.require(values, dtype=kind, requirements=["C", "W", "A"])


@compiled
def grams_of(codes: Codes) -> tuple[Places, Singles]:
    """Return the distinct buckets of a text's word 1- to 3-grams, and log(1 + how often each).

    Args:
        codes: W; the words' codes in order. Products wrap around, as hashes do.
    """
    count = len(codes)
    total = max(0, 3 * count - 3) if count > 1 else count
    size = 8
    while size < 2 * total:
        size *= 2
    slots = np.full(size, -1, np.int32)
    buckets, times = np.empty(total, np.int64), np.empty(total, np.float32)
    found = 0
    for n in range(3):
        for start in range(count - n):
            mixed = codes[start] * _FIRST
            if n > 0:
                mixed = (mixed ^ (codes[start + 1] + _SECOND)) * _SECOND
            if n > 1:
                mixed = (mixed ^ (codes[start + 2] + _FIRST)) * _FIRST
            bucket = np.int64(mixed >> _GRAM_SHIFT)
            at = bucket & (size - 1)
            while slots[at] >= 0 and buckets[slots[at]] != bucket:
                at = (at + 1) & (size - 1)
            if slots[at] < 0:
                slots[at] = found
                buckets[found], times[found] = bucket, 0.0
                found += 1
            times[slots[at]] += np.float32(1.0)
    for position in range(found):
        times[position] = np.float32(math.log1p(np.float64(times[position])))
    return buckets[:found], times[:found]


@compiled
def words_of(codes: Codes) -> Places:
    """Return the distinct words of a text, as numbers below 2**`WORD_BITS`."""
    size = 8
    while size < 2 * len(codes):
        size *= 2
    slots = np.full(size, -1, np.int64)
    words = np.empty(len(codes), np.int64)
    found = 0
    for code in codes:
        word = np.int64(code & _WORD_MASK)
        at = word & (size - 1)
        while slots[at] >= 0 and slots[at] != word:
            at = (at + 1) & (size - 1)
        if slots[at] < 0:
            slots[at] = word
            words[found] = word
            found += 1
    return words[:found]


@compiled
def novelty_signs(facts: Singles, words: Places, novelty: NoveltyTables) -> tuple[float, float]:
    """Return the share of unknown words, and the distance in root mean square spreads."""
    known = 0
    for word in words:
        known += (np.int64(novelty.known[word >> 3]) >> (word & 7)) & 1
    unknown = 1 - known / len(words) if len(words) else 0.0
    squares = 0.0
    for i in range(len(facts)):
        deviation = (np.float64(facts[i]) - novelty.middle[i]) / novelty.spread[i]
        squares += deviation * deviation
    return unknown, math.sqrt(squares / len(facts))


@compiled
def _is_new(facts: Singles, codes: Codes, novelty: NoveltyTables) -> bool:
    unknown, distance = novelty_signs(facts, words_of(codes), novelty)
    return bool(unknown > novelty.limits[0] or distance > novelty.limits[1])


@compiled
def first_logits(facts: Singles, grams: Places, counts: Singles, its: PredictorTables) -> Floats:
    """Return the first guess's logit for each model."""
    models = len(its.bias)
    logits = np.zeros(models)
    squares = 0.0
    for i in range(len(grams)):
        weight = np.float64(counts[i]) * its.rarity[grams[i]]
        if weight == 0.0:
            continue
        squares += weight * weight
        for m in range(models):
            logits[m] += weight * its.of_grams[grams[i], m]
    length = math.sqrt(squares)
    for m in range(models):
        if length > 0:
            logits[m] /= length
        logits[m] += its.bias[m]
    for i in range(len(facts)):
        deviation = (np.float64(facts[i]) - its.mean[i]) / its.spread[i]
        bounded = min(max(deviation, -FURTHEST), FURTHEST)
        for m in range(models):
            logits[m] += bounded * its.of_facts[m, i]
    return logits


@compiled
def tree_sums(inputs: Singles, models: int, its: PredictorTables) -> Floats:
    """Return what the trees of each model add up to."""
    sums = np.zeros(models)
    for tree in range(len(its.roots)):
        node = its.roots[tree]
        for _ in range(DEEPEST):
            below = inputs[its.feature[node]] <= its.threshold[node]
            onward = its.left[node] if below else its.right[node]
            if onward == node:
                break
            node = onward
        sums[its.owner[tree]] += its.value[node]
    return sums


@compiled
def predicted_scores(
    facts: Singles, grams: Places, counts: Singles, its: PredictorTables
) -> Floats:
    """Return the expected score of each model, 0..1."""
    logits = first_logits(facts, grams, counts, its)
    inputs = np.empty(len(facts) + len(logits), np.float32)
    inputs[: len(facts)] = facts
    for m in range(len(logits)):
        inputs[len(facts) + m] = np.float32(logits[m])
    sums = tree_sums(inputs, len(logits), its)
    for m in range(len(sums)):
        logit = its.calibration[m, 0] * sums[m] + its.calibration[m, 1]
        sums[m] = 1 / (1 + math.exp(-min(max(logit, -STEEPEST), STEEPEST)))
    return sums


@compiled
def band_at(scores: Floats, chars: int, bands: BandTables) -> int:
    """Return the position of a query's class; see `core.routing.bands.Bands.positions`."""
    gain = scores[bands.strong] - scores[bands.weak]
    if bands.weak == bands.strong:
        gain = 1 - scores[bands.strong]
    band, part = 0, 0
    for edge in bands.gain_edges:
        band += edge <= gain
    for limit in bands.length_edges:
        part += limit <= chars
    return band * (len(bands.length_edges) + 1) + part


@compiled
def classify_band(
    facts: Singles,
    codes: Codes,
    chars: int,
    predictor: PredictorTables,
    bands: BandTables,
    novelty: NoveltyTables,
) -> tuple[int, bool]:
    """Return the position of a query's class, and whether the query is unlike training.

    Args:
        facts: `core.routing.features.DENSE` numbers.
        codes: Its words' codes.
        chars: Its length.
    """
    grams, counts = grams_of(codes)
    scores = predicted_scores(facts, grams, counts, predictor)
    return band_at(scores, chars, bands), _is_new(facts, codes, novelty)


@compiled
def classify_named(
    facts: Singles, codes: Codes, named: NamedTables, novelty: NoveltyTables
) -> tuple[int, float, bool]:
    """Return the position of the likeliest class, its probability, and whether it is unlike
    training.
    """
    grams, counts = grams_of(codes)
    classes, dense = len(named.bias), len(facts)
    hashed = named.weights.shape[1] - dense
    scores = np.empty(classes)
    for c in range(classes):
        score = np.float64(named.bias[c])
        for i in range(dense):
            score += np.float64(named.weights[c, i]) * facts[i]
        for i in range(len(grams)):
            score += np.float64(named.weights[c, dense + grams[i] % hashed]) * counts[i]
        scores[c] = score
    best = 0
    for c in range(1, classes):
        if scores[c] > scores[best]:
            best = c
    total = 0.0
    for c in range(classes):
        total += math.exp(scores[c] - scores[best])
    return best, 1 / total, _is_new(facts, codes, novelty)
