"""The job that trains the query classifier from every outcome in the database."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from core.domain.cascade import CascadeEstimate
from core.domain.cascade_calibration import calibrated
from core.domain.ids import utc_now
from core.domain.job import Job
from core.domain.quality import Outcome, QualityEstimate, estimate_of
from core.errors import NotReady
from core.ports import JobContext
from core.quality.outcome_table import OutcomeTable, distinct_answers, of_one_metric, table_of
from core.quality.router_report import report_of
from core.routing.band_classifier import BandClassifier
from core.routing.bands import Bands, bands_of
from core.routing.classifier import QueryClassifier, train
from core.routing.features import Sighting, sighting
from core.routing.novelty import novelty_of
from core.routing.training import Trained, folds, train_predictor

SEED = 0
BAND_FOLDS = 5

Learned = tuple[QueryClassifier, dict[str, Any], list[Outcome]]
"""A classifier, what is known of it, and outcomes in classes that it has made."""


@dataclass(frozen=True)
class _Predicted:
    """What was learned of every model, and the classes that makes."""

    table: OutcomeTable
    seen: Sequence[Sighting]
    trained: Trained
    bands: Bands


class ClassifierJob:
    """Body of `JobKind.CLASSIFIER`; parameters in `JobKind`."""

    def steps(self, job: Job) -> list[str]:
        """One step: training takes seconds, a minute for ten thousand queries."""
        return ["train"]

    def run(self, step: str, context: JobContext) -> dict[str, Any]:
        """Train, store, and return what is known of the new classifier.

        Raises:
            NotReady: There are too few outcomes.
        """
        context.progress(0.1, "Reading outcomes")
        with context.uow() as work:
            outcomes = work.outcomes.all()
        context.progress(0.3, f"Training on {len({o.query for o in outcomes})} queries")
        learn = _banded if context.job.params.get("bands") else _named
        classifier, facts, labelled = learn(outcomes)
        estimates, cascades = _estimates(labelled), _cascades(labelled)
        with context.uow() as work:
            version = work.classifiers.add(classifier.to_bytes(), facts, utc_now())
            for estimate in estimates:
                work.outcomes.save_estimate(estimate)
            work.outcomes.replace_cascades({its.query_class for its in labelled}, cascades)
            work.commit()
        return {"version": version} | {
            name: its for name, its in facts.items() if name != "router"
        }


def _named(outcomes: Sequence[Outcome]) -> Learned:
    """Learn the classes that the query sets give; the quality job has scored those."""
    texts, classes = [o.query for o in outcomes], [o.query_class for o in outcomes]
    classifier, facts = train(texts, classes, SEED)
    alike, others = of_one_metric(outcomes)
    facts |= _left_out(others)
    try:
        return classifier, facts | _report(_predicted(alike), with_bands=False), []
    except NotReady:  # Too little to predict scores by; classes can be told apart all the same.
        return classifier, facts, []


def _report(its: _Predicted, *, with_bands: bool) -> dict[str, Any]:
    report = report_of(its.table, its.trained.unseen, its.bands, with_bands=with_bands)
    return {"router": report.to_facts()} if report else {}


def _banded(outcomes: Sequence[Outcome]) -> Learned:
    """Make classes of what is predicted of each query, and score them."""
    outcomes, others = of_one_metric(outcomes)
    its = _predicted(outcomes)
    facts: dict[str, Any] = {"n": len(its.table.texts), "classes": list(its.bands.names)}
    facts |= _left_out(others)
    novelty = novelty_of(its.seen, SEED)
    classifier = BandClassifier(its.trained.predictor, its.bands, novelty)
    return classifier, facts | _report(its, with_bands=True), _labelled(outcomes, its)


def _left_out(metrics: Sequence[str]) -> dict[str, Any]:
    """Say which metrics were not learned from."""
    return {"metrics_left_out": list(metrics)} if metrics else {}


def _predicted(outcomes: Sequence[Outcome]) -> _Predicted:
    if not outcomes:
        raise NotReady(
            "No answer was scored yet.", "Score a model on a query set, on Workload & quality."
        )
    table = table_of(outcomes)
    seen = [sighting(text) for text in table.texts]
    trained = train_predictor(seen, table.scores, table.groups, table.models, SEED)
    fold = folds(table.groups, BAND_FOLDS, SEED + 1)
    return _Predicted(
        table, seen, trained, bands_of(trained.unseen, table.scores, _chars(table), fold)
    )


def _labelled(outcomes: Sequence[Outcome], its: _Predicted) -> list[Outcome]:
    """Return the outcomes by band, as told by models that did not see the query."""
    positions = its.bands.positions(its.trained.unseen, _chars(its.table))
    band_of = dict(zip(its.table.texts, (its.bands.names[p] for p in positions), strict=True))
    return [replace(o, query_class=band_of[o.query]) for o in distinct_answers(outcomes)]


def _estimates(labelled: Sequence[Outcome]) -> list[QualityEstimate]:
    parts: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in labelled:
        parts.setdefault((outcome.model, outcome.query_class), []).append(outcome)
    now = utc_now()
    return [estimate_of(part, model, name, now) for (model, name), part in sorted(parts.items())]


def _cascades(labelled: Sequence[Outcome]) -> list[CascadeEstimate]:
    names = sorted({outcome.query_class for outcome in labelled})
    of_class = {name: [o for o in labelled if o.query_class == name] for name in names}
    return [found for name, part in of_class.items() for found in calibrated(name, part)]


def _chars(table: OutcomeTable) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([len(text) for text in table.texts], dtype=np.int64)
