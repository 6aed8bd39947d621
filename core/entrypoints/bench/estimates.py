"""How far predictions from data sheets are from published measurements, and what calibration buys.

Three ways to choose the tenth of the points that calibrates:

* "unseen pairs": whole (model, SKU) pairs that hold a tenth of the points; tested on the others;
* "unseen pairs, spread": as many points, spread over a random half of the pairs; tested on the
  other half;
* "same pairs": a tenth of every pair; tested on the rest of the same pairs. This one leaks.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.entrypoints.bench.published import (
    Point,
    inference_bench,
    splitwise,
    vendor_predictions,
)
from core.estimate.calibration import Calibration
from core.estimate.effects import Vector
from core.settings import Settings

SHARE = 0.1
SPREAD = "unseen pairs, spread"
Z90 = 1.6448536269514722
Split = Callable[[Sequence[Point], np.random.Generator], tuple[list[int], list[int]]]
WORST = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add where the data is, and how often to choose anew."""
    parser.add_argument("--data", type=Path, required=True, help="folder with the CSV files")
    parser.add_argument("--repeats", type=int, default=12, help="random choices of points")
    parser.add_argument("--seed", type=int, default=1)


def run(parsed: argparse.Namespace, _: Settings) -> dict[str, Any]:
    """Predict both data sets, before and after calibration.

    Raises:
        NotFound: A file is not in the folder.
    """
    of_bench = inference_bench(parsed.data)
    of_splitwise = splitwise(parsed.data)
    nvidia = [p for p in of_bench.points if p.measured.case.sku.vendor == "nvidia"]
    sets = {
        "LLM-Inference-Bench": (of_bench.points, dict(of_bench.left_out)),
        "LLM-Inference-Bench, NVIDIA only": (nvidia, {}),
        "Splitwise": (of_splitwise.points, dict(of_splitwise.left_out)),
    }
    return {
        "share": SHARE,
        "repeats": parsed.repeats,
        "seed": parsed.seed,
        "data": {
            name: _assess(points, parsed.repeats, parsed.seed) | {"left_out": left_out}
            for name, (points, left_out) in sets.items()
        },
        "aiconfigurator": _vendor(parsed.data, of_bench.points),
    }


def told(result: dict[str, Any]) -> str:
    """Return the tables of the result as text."""
    lines = []
    for name, found in result["data"].items():
        lines += ["", f"{name}: {found['points']} points of {found['pairs']} (model, SKU) pairs"]
        if found["left_out"]:
            reasons = (f"{count} {reason}" for reason, count in found["left_out"].items())
            lines.append(f"  left out: {', '.join(reasons)}")
        lines.append(_line("roofline alone", found["before"]))
        lines += [f"    {what}: {_figures(f)}" for what, f in found["before_by_what"].items()]
        for split, after in found["after"].items():
            lines.append(_line(f"calibrated, {split}", after))
            lines += [f"    {what}: {_figures(f)}" for what, f in after["by_what"].items()]
        for by in ("sku", "model"):
            lines.append(f"  by {by}, unseen pairs, spread: median error before -> after")
            lines += [
                f"    {key}: {of['before']:.1%} -> {of['after']:.1%}, "
                f"90 % interval holds {of['coverage']:.0%}"
                for key, of in found["after"][SPREAD][f"by_{by}"].items()
            ]
        lines.append("  worst after calibration (predicted / measured)")
        lines += [f"    {w['ratio']:.2f}  {w['case']}" for w in found["worst"]]
    vendor = result["aiconfigurator"]
    lines += ["", f"aiconfigurator against {vendor['points']} measurements on H100"]
    lines += [f"  {key}: {_figures(of)}" for key, of in vendor.items() if key != "points"]
    return "\n".join(lines).strip()


def _line(name: str, figures: dict[str, Any]) -> str:
    held = figures.get("coverage")
    return f"  {name}: {_figures(figures)}" + (
        f", 90 % interval holds {held:.0%}" if held is not None else ""
    )


def _figures(figures: dict[str, Any]) -> str:
    spread = figures.get("median_spread")
    about = f" (+/- {spread:.1%})" if spread is not None else ""
    return (
        f"median error {figures['median']:.1%}{about}, P90 {figures['p90']:.1%}, "
        f"bias {figures['bias']:+.1%}"
    )


def _assess(points: Sequence[Point], repeats: int, seed: int) -> dict[str, Any]:
    before = _errors(points, np.array([p.measured.case.predicted_s for p in points]))
    tests = {name: list(_tests(points, split, repeats, seed)) for name, split in SPLITS.items()}
    return {
        "points": len(points),
        "pairs": len({p.pair for p in points}),
        "before": _error_figures(before),
        "before_by_what": _by_what(points, before),
        "after": {name: _summary(points, before, of) for name, of in tests.items()},
        "worst": _worst(points, tests[SPREAD]),
    }


Test = tuple[list[int], Vector, Vector]
"""Rows that were predicted, logarithms of predicted over measured, sigmas."""


def _tests(points: Sequence[Point], split: Split, repeats: int, seed: int) -> Iterable[Test]:
    generator = np.random.default_rng(seed)
    for _ in range(repeats):
        learnt, rest = split(points, generator)
        calibration = Calibration.fit([points[i].measured for i in learnt])
        predicted_s, sigmas = calibration.corrected_all([points[i].measured.case for i in rest])
        yield rest, _errors([points[i] for i in rest], predicted_s), sigmas


def _whole_pairs(
    points: Sequence[Point], generator: np.random.Generator
) -> tuple[list[int], list[int]]:
    usable, wanted = _usable(points)
    chosen: set[str] = set()
    for pair in _shuffled(points, generator):
        if sum(points[i].pair in chosen for i in usable) >= wanted:
            break
        chosen.add(pair)
    return _divided(points, chosen, usable, wanted, generator)


def _spread_pairs(
    points: Sequence[Point], generator: np.random.Generator
) -> tuple[list[int], list[int]]:
    usable, wanted = _usable(points)
    pairs = _shuffled(points, generator)
    return _divided(points, set(pairs[: len(pairs) // 2]), usable, wanted, generator)


def _same_pairs(
    points: Sequence[Point], generator: np.random.Generator
) -> tuple[list[int], list[int]]:
    usable, _ = _usable(points)
    learnt: set[int] = set()
    for pair in sorted({p.pair for p in points}):
        own = [i for i in usable if points[i].pair == pair]
        count = max(1, round(SHARE * len(own)))
        learnt |= set(generator.choice(own, count, replace=False).tolist())
    return sorted(learnt), [i for i in range(len(points)) if i not in learnt]


SPLITS: dict[str, Split] = {
    "unseen pairs": _whole_pairs,
    SPREAD: _spread_pairs,
    "same pairs": _same_pairs,
}


def _usable(points: Sequence[Point]) -> tuple[list[int], int]:
    usable = [i for i, point in enumerate(points) if point.calibrates]
    return usable, round(SHARE * len(usable))


def _shuffled(points: Sequence[Point], generator: np.random.Generator) -> list[str]:
    pairs = sorted({point.pair for point in points})
    return [pairs[i] for i in generator.permutation(len(pairs))]


def _divided(
    points: Sequence[Point],
    chosen: set[str],
    usable: Sequence[int],
    wanted: int,
    generator: np.random.Generator,
) -> tuple[list[int], list[int]]:
    """Return points of chosen pairs, at most as many as wanted, and all points of other pairs."""
    own = [i for i in usable if points[i].pair in chosen]
    learnt = generator.choice(own, min(wanted, len(own)), replace=False).tolist()
    return learnt, [i for i, point in enumerate(points) if point.pair not in chosen]


def _errors(points: Sequence[Point], predicted_s: Vector) -> Vector:
    errors: Vector = np.log(predicted_s / np.array([p.measured.measured_s for p in points]))
    return errors


def _error_figures(logs: Vector) -> dict[str, float]:
    relative = np.expm1(logs)
    return {
        "median": float(np.median(np.abs(relative))),
        "p90": float(np.quantile(np.abs(relative), 0.9)),
        "bias": float(np.median(relative)),
    }


def _by_what(points: Sequence[Point], logs: Vector) -> dict[str, dict[str, float]]:
    kinds = np.array([point.what for point in points])
    return {
        what: _error_figures(logs[kinds == what]) | {"points": int((kinds == what).sum())}
        for what in ("TTFT", "TPOT", "E2E")
        if np.any(kinds == what)
    }


def _summary(points: Sequence[Point], before: Vector, tests: Sequence[Test]) -> dict[str, Any]:
    """Return means over the repetitions, and how the median varies between them."""
    each = [_error_figures(logs) for _, logs, _ in tests]
    rows = np.concatenate([rows for rows, _, _ in tests])
    logs = np.concatenate([logs for _, logs, _ in tests])
    sigmas = np.concatenate([sigmas for _, _, sigmas in tests])
    held = np.abs(logs) <= Z90 * sigmas
    tested = [points[i] for i in rows]
    return {
        **{key: float(np.mean([figures[key] for figures in each])) for key in each[0]},
        "median_spread": float(np.std([figures["median"] for figures in each])),
        "before_on_the_same": float(np.median(np.abs(np.expm1(before[rows])))),
        "sigma_median": float(np.median(sigmas)),
        "coverage": float(np.mean(held)),
        "by_what": _by_what(tested, logs),
        "by_sku": _grouped([p.measured.case.sku.name for p in tested], before[rows], logs, held),
        "by_model": _grouped([p.measured.case.model for p in tested], before[rows], logs, held),
    }


def _grouped(
    keys: Sequence[str], before: Vector, after: Vector, held: "np.ndarray[Any, np.dtype[np.bool]]"
) -> dict[str, dict[str, float]]:
    names = np.array(keys)
    return {
        key: {
            "before": float(np.median(np.abs(np.expm1(before[names == key])))),
            "after": float(np.median(np.abs(np.expm1(after[names == key])))),
            "coverage": float(np.mean(held[names == key])),
        }
        for key in sorted(set(keys))
    }


def _worst(points: Sequence[Point], tests: Sequence[Test]) -> list[dict[str, Any]]:
    """Return the points that are farthest off on average over the repetitions."""
    logs = defaultdict(list)
    for rows, errors, _ in tests:
        for row, error in zip(rows, errors, strict=True):
            logs[row].append(float(error))
    mean = {row: float(np.mean(values)) for row, values in logs.items()}
    ranked = sorted(mean, key=lambda row: -abs(mean[row]))[:WORST]
    return [{"ratio": float(np.exp(mean[row])), "case": points[row].name} for row in ranked]


def _vendor(folder: Path, points: Sequence[Point]) -> dict[str, Any]:
    """Compare aiconfigurator and the roofline on the cases that both predict."""
    known = vendor_predictions(folder, points)
    both = [point for point, _ in known.values()]
    predicted_s = np.array([time_s for _, time_s in known.values()])
    roofline_s = np.array([point.measured.case.predicted_s for point in both])
    logs = _errors(both, predicted_s)
    return {
        "points": len(both),
        "aiconfigurator alone": _error_figures(logs),
        "aiconfigurator, scaled by the other model": _error_figures(_scaled(both, logs)),
        "roofline alone": _error_figures(_errors(both, roofline_s)),
    }


def _scaled(points: Sequence[Point], logs: Vector) -> Vector:
    """Take from each model's errors the median error of the other models."""
    models = np.array([point.measured.case.model for point in points])
    scaled = logs.copy()
    for model in sorted(set(models.tolist())):
        if np.any(models != model):
            scaled[models == model] -= np.median(logs[models != model])
    return scaled
