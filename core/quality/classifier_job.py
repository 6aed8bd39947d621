"""The job that trains the query classifier from every outcome in the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.domain.ids import utc_now
from core.domain.job import Job
from core.domain.quality import Outcome, QualityEstimate
from core.errors import NotReady
from core.ports import JobContext
from core.quality.job import estimate_of
from core.quality.outcome_table import OutcomeTable, table_of
from core.quality.router_report import report_of
from core.routing.band_classifier import BandClassifier
from core.routing.bands import Bands, bands_of
from core.routing.classifier import QueryClassifier, train
from core.routing.features import Sighting, sighting
from core.routing.novelty import novelty_of
from core.routing.training import Trained, folds, train_predictor

SEED = 0
BAND_FOLDS = 5

Learned = tuple[QueryClassifier, dict[str, Any], list[QualityEstimate]]
"""A classifier, what is known of it, and the quality of models in classes it has made."""


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
        classifier, facts, estimates = learn(outcomes)
        with context.uow() as work:
            version = work.classifiers.add(classifier.to_bytes(), facts, utc_now())
            for estimate in estimates:
                work.outcomes.save_estimate(estimate)
            work.commit()
        return {"version": version} | {
            name: its for name, its in facts.items() if name != "router"
        }


def _named(outcomes: Sequence[Outcome]) -> Learned:
    """Learn the classes that the query sets give; the quality job has scored those."""
    texts, classes = [o.query for o in outcomes], [o.query_class for o in outcomes]
    classifier, facts = train(texts, classes, SEED)
    try:
        return classifier, facts | _report(_predicted(outcomes), with_bands=False), []
    except NotReady:  # Too little to predict scores by; classes can be told apart all the same.
        return classifier, facts, []


def _report(its: _Predicted, *, with_bands: bool) -> dict[str, Any]:
    report = report_of(its.table, its.trained.unseen, its.bands, with_bands=with_bands)
    return {"router": report.to_facts()} if report else {}


def _banded(outcomes: Sequence[Outcome]) -> Learned:
    """Make classes of what is predicted of each query, and score them."""
    its = _predicted(outcomes)
    facts = {"n": len(its.table.texts), "classes": list(its.bands.names)}
    novelty = novelty_of(its.seen, SEED)
    classifier = BandClassifier(its.trained.predictor, its.bands, novelty)
    return classifier, facts | _report(its, with_bands=True), _estimates(outcomes, its)


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


def _estimates(outcomes: Sequence[Outcome], its: _Predicted) -> list[QualityEstimate]:
    """Return each model's quality in each band, as told by models that did not see the query."""
    positions = its.bands.positions(its.trained.unseen, _chars(its.table))
    band_of = dict(zip(its.table.texts, (its.bands.names[p] for p in positions), strict=True))
    parts: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        parts.setdefault((outcome.model, band_of[outcome.query]), []).append(outcome)
    return [estimate_of(part, model, band) for (model, band), part in sorted(parts.items())]


def _chars(table: OutcomeTable) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([len(text) for text in table.texts], dtype=np.int64)
