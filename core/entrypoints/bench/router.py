"""The router's predictions on MMLU-Pro: Llama-3.1-8B against 70B, questions it did not see.

Needs quality_mmlu_pro_llama31_8b_70b.parquet in the folder given as --data: questions of
TIGER-AI-Lab/MMLU-Pro with its published answers of both models, scored right or wrong.
Questions of the same wording stay in one fold. Measures are those of RouteLLM
(arXiv 2406.18665); `core.routing.measures` defines them.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.entrypoints.bench.router_peers import PEERS, Rows
from core.entrypoints.bench.router_questions import (
    MODELS,
    STRONG,
    WEAK,
    Floats,
    Integers,
    Questions,
    questions_in,
)
from core.entrypoints.bench.router_signs import importance, latency, repeatability, strangeness
from core.routing.bands import bands_of
from core.routing.features import Sighting, sighting
from core.routing.measures import Curve, auc, calibration_error, curve_of
from core.routing.predictor import Predictor
from core.routing.training import Trained, folds, train_predictor
from core.settings import Settings

RESAMPLES = 200
BARS = {"apgr": 0.60, "cpt_50": 0.38, "ece": 0.03, "p99_ms": 1.0, "train_s": 60.0}
OURS, TABLE = "BOute", "BOute, as a table of bands"


@dataclass(frozen=True)
class _Fold:
    """What came of one fold.

    Attributes:
        asked: Rows that were not learned from.
        predicted: Of those rows; scores per model.
        banded: Of those rows; expected gain of their band.
        bands: How many classes were chosen.
        predictor: It.
        wall_s, cpu_s: How long training took, from text to predictor.
    """

    asked: Rows
    predicted: Floats
    banded: Floats
    bands: int
    predictor: Predictor
    wall_s: float
    cpu_s: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where the data is and how it is split."""
    parser.add_argument("--data", type=Path, required=True, help="folder with the Parquet file")
    parser.add_argument("--folds", type=int, default=5, help="parts the questions are split into")
    parser.add_argument("--seed", type=int, default=0, help="of the split")


def run(parsed: argparse.Namespace, _: Settings) -> dict[str, Any]:
    """Predict every question by what was learned from the other folds."""
    questions = questions_in(parsed.data)
    seen = [sighting(text) for text in questions.texts]
    fold = folds(questions.groups, parsed.folds, parsed.seed)
    parts = [_learn(questions, seen, fold, number) for number in range(parsed.folds)]
    predicted = _joined(parts, [its.predicted for its in parts])
    gains = {
        OURS: predicted[:, STRONG] - predicted[:, WEAK],
        TABLE: _joined(parts, [its.banded for its in parts]),
        **{name: _peer(questions, fold, name) for name in PEERS},
    }
    first = parts[0]
    return {
        "bars": BARS,
        "questions": len(questions),
        "wordings": len(set(questions.groups.tolist())),
        "mean_score": dict(zip(MODELS, questions.right.mean(axis=0).tolist(), strict=True)),
        "only_strong": float((questions.gain > 0).mean()),
        "only_weak": float((questions.gain < 0).mean()),
        "routers": {name: _measured(questions, gain) for name, gain in gains.items()},
        "models": _by_model(questions, predicted),
        "bands": [its.bands for its in parts],
        "training": {"queries": len(questions) - len(first.asked)}
        | {"wall_s": [p.wall_s for p in parts], "cpu_s": [p.cpu_s for p in parts]},
        "latency": latency(first.predictor, [questions.texts[row] for row in first.asked]),
        "importance": importance(
            first.predictor, [seen[row] for row in first.asked], questions.right[first.asked]
        ),
        "repeatability": repeatability(questions),
        "new": strangeness(questions, seen, fold, parsed.seed),
    }


def _learn(questions: Questions, seen: Sequence[Sighting], fold: Integers, number: int) -> _Fold:
    known, asked = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    trained = train_predictor(
        [sighting(questions.texts[row]) for row in known],
        questions.right[known],
        questions.groups[known],
        MODELS,
        seed=0,
    )
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    predicted = np.array([trained.predictor.scores(seen[row]) for row in asked])
    banded, count = _banded(questions, trained, known, asked, predicted)
    return _Fold(asked, predicted, banded, count, trained.predictor, wall_s, cpu_s)


def _banded(
    questions: Questions, trained: Trained, known: Rows, asked: Rows, predicted: Floats
) -> tuple[Floats, int]:
    """Return the gain that the learned-from questions of the same class had, and the classes."""
    chars = np.array([len(text) for text in questions.texts])
    inner = folds(questions.groups[known], 5, 1)
    bands = bands_of(trained.unseen, questions.right[known], chars[known], inner)
    at_known = bands.positions(trained.unseen, chars[known])
    sizes = np.bincount(at_known, minlength=len(bands.names))
    sums = np.bincount(at_known, weights=questions.gain[known], minlength=len(bands.names))
    means: Floats = sums / np.maximum(sizes, 1)
    return means[bands.positions(predicted, chars[asked])], len(bands.names)


def _joined(parts: Sequence[_Fold], values: Sequence[Floats]) -> Floats:
    order = np.argsort(np.concatenate([its.asked for its in parts]))
    joined: Floats = np.concatenate(values)[order]
    return joined


def _peer(questions: Questions, fold: Integers, name: str) -> Floats:
    gain = np.zeros(len(questions))
    for number in np.unique(fold):
        asked = np.flatnonzero(fold == number)
        gain[asked] = PEERS[name](questions, np.flatnonzero(fold != number), asked)
    return gain


def _measured(questions: Questions, gain: Floats) -> dict[str, float]:
    """Return the measures of a router, with the standard error of its APGR by bootstrap."""
    rows = np.arange(len(questions))
    curve = _curve(questions, gain, rows)
    dice = np.random.default_rng(0)
    again = [_curve(questions, gain, dice.choice(rows, len(rows))).apgr for _ in range(RESAMPLES)]
    return {
        "apgr": curve.apgr,
        "apgr_error": float(np.std(again)),
        "cpt_50": curve.cpt(0.5),
        "cpt_80": curve.cpt(0.8),
        "auc_only_strong": auc(gain, questions.gain > 0),
    }


def _curve(questions: Questions, gain: Floats, rows: Rows) -> Curve:
    right = questions.right[rows]
    return curve_of(gain[rows], right[:, WEAK], right[:, STRONG])


def _by_model(questions: Questions, predicted: Floats) -> dict[str, dict[str, float]]:
    found = {}
    for m, model in enumerate(MODELS):
        right, its = questions.right[:, m], predicted[:, m]
        found[model] = {"auc": auc(its, right > 0), "ece": calibration_error(its, right)}
    return found


def told(result: dict[str, Any]) -> str:
    """Return the figures as text."""
    lines = [
        f"{result['questions']} questions, {result['wordings']} wordings; only the strong model "
        f"right {result['only_strong']:.1%}, only the weak one {result['only_weak']:.1%}",
        "",
        "router                       APGR (error)    CPT(50 %)  CPT(80 %)  AUC",
    ]
    lines += [
        f"{name:<28} {its['apgr']:.3f} ({its['apgr_error']:.3f})   {its['cpt_50']:>8.1%}  "
        f"{its['cpt_80']:>8.1%}  {its['auc_only_strong']:.3f}"
        for name, its in result["routers"].items()
    ]
    lines += ["", *_told_models(result), *_told_cost(result), "", *_told_why(result)]
    return "\n".join(lines)


def _told_models(result: dict[str, Any]) -> list[str]:
    return [
        f"{model}: AUC {its['auc']:.3f}, calibration error {its['ece']:.3f}"
        for model, its in result["models"].items()
    ] + [f"classes chosen per fold: {', '.join(map(str, result['bands']))}"]


def _told_cost(result: dict[str, Any]) -> list[str]:
    training, latency_ms = result["training"], result["latency"]
    return [
        f"training on {training['queries']} queries: {max(training['wall_s']):.0f} s at most, "
        f"{max(training['cpu_s']):.0f} s of CPU",
        f"per query: median {latency_ms['p50_ms']:.2f} ms, P99 {latency_ms['p99_ms']:.2f} ms; "
        f"of CPU {latency_ms['cpu_p50_ms']:.2f} and {latency_ms['cpu_p99_ms']:.2f} ms",
    ]


def _told_why(result: dict[str, Any]) -> list[str]:
    again, new = result["repeatability"], result["new"]
    drops = sorted(result["importance"].items(), key=lambda item: -item[1])
    return [
        "what matters (AUC lost when it is shuffled): "
        + ", ".join(f"{name} {drop:.3f}" for name, drop in drops),
        f"{again['pairs']} pairs of questions of one wording with other options: weak model's "
        f"outcomes correlate by {again['weak']:.2f}, gains by {again['gain']:.2f}",
        "taken for unlike training: " + ", ".join(f"{what} {s:.1%}" for what, s in new.items()),
    ]
