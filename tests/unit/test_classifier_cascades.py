"""Cascades of the classes that a classifier has made."""

from dataclasses import replace

from core.domain.job import JobKind
from core.ports import UnitOfWorkFactory
from core.quality.classifier_job import ClassifierJob
from tests.fakes.job_context import RunningReplicas, running_job
from tests.unit.routing_world import world


def test_bands_have_cascades_of_their_own(sqlite_uow: UnitOfWorkFactory) -> None:
    """The small model's wrong answers are its unsure ones, in every band."""
    outcomes = [
        replace(o, confidence=(-0.1 if o.score else -1.0) - number / 1e6)
        for number, o in enumerate(world(240, seed=4).outcomes())
    ]
    with sqlite_uow() as work:
        work.outcomes.add(outcomes)
        work.commit()
    job = running_job(JobKind.CLASSIFIER, {"bands": True})
    result = ClassifierJob().run("train", RunningReplicas(job, sqlite_uow, {}))
    with sqlite_uow() as work:
        cascades = work.outcomes.cascades()
        estimates = {(e.model, e.query_class): e for e in work.outcomes.estimates()}
    assert cascades
    assert {c.query_class for c in cascades} <= set(result["classes"])
    for cascade in cascades:
        first = estimates[cascade.model, cascade.query_class]
        assert cascade.n == first.n
        assert cascade.mean > first.mean
