"""Makes the report on a router out of what was predicted of queries not learned from."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.domain.router_report import BandRow, Bin, Example, Point, Reliability, RouterReport
from core.quality.outcome_table import OutcomeTable
from core.routing.bands import Bands
from core.routing.measures import Curve, auc, calibration_error, curve_of, reliability

Floats = NDArray[np.float64]
STEPS = 50
"""The curve is kept at multiples of 1 / STEPS."""
EXAMPLE_SHARES = (0.2, 0.4, 0.5, 0.6, 0.8)
EXAMPLES = 3
"""On each side of a threshold."""
EXAMPLE_CHARS = 240


def report_of(
    table: OutcomeTable, predicted: Floats, bands: Bands, *, with_bands: bool
) -> RouterReport | None:
    """Compare predictions with outcomes.

    Args:
        table: n queries, M models.
        predicted: n x M, of queries that were not learned from.
        bands: Says which models are weak and strong, and which classes there are.
        with_bands: Whether its classes are in use.

    Returns:
        The report; None when fewer than two queries were answered by both models.
    """
    ends = [bands.weak, bands.strong]
    both = np.flatnonzero(~np.isnan(table.scores[:, ends]).any(axis=1))
    if bands.weak == bands.strong or len(both) < 2:
        return None
    weak, strong = table.scores[both][:, ends].T
    gain = bands.gain(predicted[both])
    curve = curve_of(gain, weak, strong)
    gap = strong.mean() > weak.mean()
    return RouterReport(
        queries=len(both),
        weak=table.models[bands.weak],
        strong=table.models[bands.strong],
        apgr=curve.apgr if gap else None,
        cpt_50=curve.cpt(0.5) if gap else None,
        cpt_80=curve.cpt(0.8) if gap else None,
        models=_models(table, predicted),
        points=_points(curve, curve_of(strong - weak, weak, strong), gain),
        examples=_examples([table.texts[row] for row in both], gain, weak, strong),
        bands=_bands(table, predicted, bands) if with_bands else (),
    )


def _models(table: OutcomeTable, predicted: Floats) -> tuple[Reliability, ...]:
    found = []
    for m, model in enumerate(table.models):
        known = ~np.isnan(table.scores[:, m])
        score, its = table.scores[known, m], predicted[known, m]
        ranked = auc(its, score >= 0.5)
        bins = tuple(Bin(float(p), float(s), int(n)) for p, s, n in reliability(its, score))
        error = calibration_error(its, score)
        found.append(Reliability(model, None if np.isnan(ranked) else ranked, error, bins))
    return tuple(found)


def _points(router: Curve, oracle: Curve, gain: Floats) -> tuple[Point, ...]:
    weak, strong = float(router.quality[0]), float(router.quality[-1])
    return tuple(
        Point(
            share=share,
            threshold=float(np.quantile(gain, 1 - share)),
            router=router.at(share),
            random=weak + share * (strong - weak),
            oracle=oracle.at(share),
        )
        for share in (step / STEPS for step in range(STEPS + 1))
    )


def _examples(
    texts: Sequence[str], gain: Floats, weak: Floats, strong: Floats
) -> tuple[Example, ...]:
    """Return the queries next to some thresholds, the highest gain first."""
    order = np.argsort(-gain, kind="stable")
    found = []
    for share in EXAMPLE_SHARES:
        cut = round(share * len(order))
        for place in range(max(0, cut - EXAMPLES), min(len(order), cut + EXAMPLES)):
            row = order[place]
            found.append(
                Example(
                    share=share,
                    query=texts[row][:EXAMPLE_CHARS],
                    gain=float(gain[row]),
                    goes_strong=place < cut,
                    weak_score=float(weak[row]),
                    strong_score=float(strong[row]),
                )
            )
    return tuple(found)


def _bands(table: OutcomeTable, predicted: Floats, bands: Bands) -> tuple[BandRow, ...]:
    chars = np.array([len(text) for text in table.texts])
    position = bands.positions(predicted, chars)
    return tuple(
        BandRow(
            name=name,
            count=int((position == number).sum()),
            predicted=_means(table.models, predicted[position == number]),
            scored=_means(table.models, table.scores[position == number]),
        )
        for number, name in enumerate(bands.names)
    )


def _means(models: Sequence[str], values: Floats) -> dict[str, float]:
    """Return the mean by model, where there is one."""
    columns = {model: its[~np.isnan(its)] for model, its in zip(models, values.T, strict=True)}
    return {model: float(its.mean()) for model, its in columns.items() if len(its)}
