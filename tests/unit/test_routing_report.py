"""The report on a router: made by the job, kept with the classifier, told in words."""

import json
from dataclasses import replace

import numpy as np
import pytest

from core.domain.job import JobKind
from core.domain.quality import Outcome
from core.domain.router_report import RouterReport
from core.errors import NotReady
from core.ports import UnitOfWorkFactory
from core.quality.classifier_job import ClassifierJob
from core.quality.outcome_table import table_of
from core.quality.router_report import EXAMPLES, report_of
from core.routing.bands import Bands
from core.routing.reading import read_classifier
from core.services.routing import examples_at, in_words, router_report
from tests.fakes.job_context import RunningReplicas, running_job
from tests.unit.routing_world import world

QUERIES = 240
WORLD = world(QUERIES, seed=4)


def trained(uow: UnitOfWorkFactory, **params: object) -> dict[str, object]:
    with uow() as work:
        work.outcomes.add(WORLD.outcomes())
        work.commit()
    job = running_job(JobKind.CLASSIFIER, params)
    return ClassifierJob().run("train", RunningReplicas(job, uow, {}))


def test_bands_are_trained_stored_and_scored(sqlite_uow: UnitOfWorkFactory) -> None:
    result = trained(sqlite_uow, bands=True)
    with sqlite_uow() as work:
        newest = work.classifiers.latest()
        estimates = work.outcomes.estimates()
    assert newest is not None
    classes = read_classifier(newest[1]).classes
    assert result == {"version": 1, "n": QUERIES, "classes": list(classes)}
    assert {e.query_class for e in estimates} == set(classes)
    for model in ("large", "small"):
        assert sum(e.n for e in estimates if e.model == model) == QUERIES
    report = router_report(sqlite_uow)
    assert report is not None
    assert (report.weak, report.strong, report.queries) == ("small", "large", QUERIES)
    assert [band.name for band in report.bands] == list(classes)
    assert report.apgr is not None
    assert report.apgr > 0.6
    gains = [band.scored["large"] - band.scored["small"] for band in report.bands]
    assert gains[-1] > gains[0] + 0.2


def test_given_classes_come_with_a_report_too(sqlite_uow: UnitOfWorkFactory) -> None:
    with sqlite_uow() as work:
        extra = [replace(o, query=o.query + "!", query_class="other") for o in WORLD.outcomes()]
        work.outcomes.add(extra)
        work.commit()
    result = trained(sqlite_uow)
    report = router_report(sqlite_uow)
    assert report is not None
    assert report.bands == ()
    assert result["classes"] == ["any", "other"]


def test_without_a_classifier_there_is_no_report(memory_uow: UnitOfWorkFactory) -> None:
    assert router_report(memory_uow) is None


def test_bands_need_outcomes(memory_uow: UnitOfWorkFactory) -> None:
    job = running_job(JobKind.CLASSIFIER, {"bands": True})
    with pytest.raises(NotReady, match="No answer was scored yet"):
        ClassifierJob().run("train", RunningReplicas(job, memory_uow, {}))


def report(predicted: np.ndarray | None = None) -> RouterReport:
    made = report_of(
        table_of(WORLD.outcomes()),
        WORLD.true if predicted is None else predicted,
        Bands(1, 0, np.array([0.3]), np.zeros(0)),
        with_bands=True,
    )
    assert made is not None
    return made


def test_a_report_lies_between_random_and_oracle() -> None:
    made = report()
    for point in made.points[1:-1]:
        assert point.random < point.router < point.oracle
    thresholds = [point.threshold for point in made.points]
    assert thresholds == sorted(thresholds, reverse=True)
    assert sum(band.count for band in made.bands) == QUERIES


def test_a_report_is_json_and_comes_back() -> None:
    made = report()
    assert RouterReport.from_facts(json.loads(json.dumps(made.to_facts()))) == made


def test_examples_lie_on_both_sides_of_their_threshold() -> None:
    near = examples_at(report(WORLD.true + np.linspace(0, 1e-3, 2 * QUERIES).reshape(-1, 2)), 0.45)
    assert [its.goes_strong for its in near] == [True] * EXAMPLES + [False] * EXAMPLES
    gains = [its.gain for its in near]
    assert gains == sorted(gains, reverse=True)


def test_a_threshold_is_said_in_words() -> None:
    made = report()
    said = in_words(made, 0.33)
    assert "to large when that is expected to score at least" in said
    assert "34% of the queries" in said or "32% of the queries" in said
    assert "That recovers" in said
    assert in_words(made, 0.0).startswith("All queries go to small")
    assert in_words(made, 1.0).startswith("All queries go to large")


def test_models_of_equal_quality_have_no_gap_to_recover() -> None:
    outcomes = [Outcome(f"q {i}", "c", m, i % 2, 1, "j") for i in range(40) for m in ("a", "b")]
    bands = Bands(0, 1, np.zeros(0), np.zeros(0))
    made = report_of(table_of(outcomes), np.full((40, 2), 0.5), bands, with_bands=False)
    assert made is not None
    assert (made.apgr, made.cpt_50) == (None, None)
    assert "recovers" not in in_words(made, 0.5)


def test_one_model_alone_has_no_report() -> None:
    table = table_of([Outcome("q", "c", "a", 1.0, 1, "j")])
    bands = Bands(0, 0, np.zeros(0), np.zeros(0))
    assert report_of(table, np.ones((1, 1)), bands, with_bands=False) is None


def test_repeated_answers_are_averaged_and_gaps_kept() -> None:
    table = table_of(
        [
            Outcome("Q  one", "c", "a", 1.0, 1, "j"),
            Outcome("Q  one", "c", "a", 0.0, 1, "j"),
            Outcome("q one", "c", "b", 1.0, 1, "j"),
        ]
    )
    assert table.texts == ("Q  one", "q one")
    assert table.groups.tolist() == [0, 0]
    assert table.scores[0, 0] == 0.5
    assert np.isnan(table.scores[0, 1])
