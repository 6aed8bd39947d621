"""The OPTIMISE job step by step on a real database."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from core.domain.job import Job
from core.domain.plan import PlanScore, ServingPlan
from core.domain.profile import Provenance
from core.domain.study import Limits, Origin, Study, StudyState
from core.errors import Cancelled, EngineFailed
from core.estimate import AnalyticEvaluator
from core.optimize.job import OptimiseJob
from core.optimize.proposals import in_order
from core.ports import UnitOfWorkFactory
from core.services import studies
from core.services.planning import facts_of
from tests.unit.planning_problems import NOW
from tests.unit.planning_world import fill

# gpytorch compiles its kernels with a function that newer versions of torch discourage.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")


class Context:
    """A job's view of the world without a controller: a real database, progress in a list."""

    def __init__(self, job: Job, uow: UnitOfWorkFactory) -> None:
        self.job, self.uow = job, uow
        self.told: list[tuple[float, str]] = []
        self.cancel_at = 2.0

    def progress(self, fraction: float, message: str) -> None:
        self.told.append((fraction, message))
        if fraction >= self.cancel_at:
            raise Cancelled("Cancelled by the operator.")

    def replicas(self, kinds: Mapping[object, int]) -> list[object]:
        raise AssertionError("the stand-in for replicas starts none")


class SlowReplicas:
    """Measures plans as 1.5 times slower than predicted."""

    def __init__(self, facts) -> None:
        self._analytic = AnalyticEvaluator(facts)
        self.asked: list[ServingPlan] = []

    def evaluate(self, plan: ServingPlan) -> PlanScore:
        self.asked.append(plan)
        score = self._analytic.evaluate(plan)
        p95_s = score.p95_e2e_s * 1.5
        return replace(score, provenance=Provenance.MEASURED, p95_e2e_s=p95_s)


class Dying:
    """A controller that is killed while it measures."""

    def __init__(self) -> None:
        self.asked: list[ServingPlan] = []

    def evaluate(self, plan: ServingPlan) -> PlanScore:
        self.asked.append(plan)
        raise KeyboardInterrupt


class Flaky:
    """Fails to measure some of the plans, by number."""

    def __init__(self, facts, failing: set[int]) -> None:
        self._meter = SlowReplicas(facts)
        self._failing = failing

    def evaluate(self, plan: ServingPlan) -> PlanScore:
        score = self._meter.evaluate(plan)
        if len(self._meter.asked) in self._failing:
            raise EngineFailed("large on cpu-core did not start.", "Look at its log.")
        return score


def start(uow: UnitOfWorkFactory, limits: Limits, live: int = 0) -> tuple[Study, Context]:
    fill(uow)
    study = studies.create_study(uow, "s", "w", limits, NOW, live_evaluations=live)
    with uow() as work:
        (job,) = work.jobs.all()
    return study, Context(job, uow)


def test_estimates_only(sqlite_uow: UnitOfWorkFactory) -> None:
    study, context = start(sqlite_uow, Limits(quality_floor=0.85))
    body = OptimiseJob(lambda *_: pytest.fail("nothing is measured"))
    assert body.steps(context.job) == ["search", "finish", "compare"]
    body.run("search", context)
    assert studies.study(sqlite_uow, study.study_id).state is StudyState.RUNNING
    result = body.run("finish", context)
    done = studies.study(sqlite_uow, study.study_id)
    assert done.state is StudyState.DONE
    assert done.finished_at is not None
    assert done.reference is not None
    assert "plans on the front" in done.message
    front = studies.front(sqlite_uow, study.study_id)
    assert len(front) == result["front"] > 1
    assert front[0].score.cost_usd_per_hour == min(t.score.cost_usd_per_hour for t in front)
    fractions = [fraction for fraction, _ in context.told]
    assert fractions == sorted(fractions)
    assert all(0 <= f <= 1 for f in fractions)


def test_live_steps_resume_with_the_same_plans(sqlite_uow: UnitOfWorkFactory) -> None:
    study, context = start(sqlite_uow, Limits(quality_floor=0.6), live=4)
    meters: list[SlowReplicas] = []

    def factory(_: object, facts: object) -> SlowReplicas:
        meters.append(SlowReplicas(facts))
        return meters[-1]

    body = OptimiseJob(factory)
    live_steps = ["live:0", "live:1", "live:2", "live:3"]
    assert body.steps(context.job) == ["search", *live_steps, "finish", "compare"]
    for step in ("search", "live:0", "live:1"):
        body.run(step, context)
    # A controller that dies after the result was stored runs the step again: nothing happens.
    stored = studies.trials(sqlite_uow, study.study_id)
    body.run("live:1", context)
    assert studies.trials(sqlite_uow, study.study_id) == stored
    # One that dies before that measures the same plan again.
    dying = Dying()
    with pytest.raises(KeyboardInterrupt):
        OptimiseJob(lambda *_: dying).run("live:2", context)
    assert studies.trials(sqlite_uow, study.study_id) == stored
    body.run("live:2", context)
    assert meters[-1].asked == dying.asked
    for step in ("live:3", "finish"):
        body.run(step, context)
    trials = studies.trials(sqlite_uow, study.study_id)
    assert sum(t.measured is not None for t in trials) == 4
    assert all(t.measured for t in trials if t.origin is Origin.BAYES)
    analytic = meters[0]._analytic
    ratios = [
        t.predicted.p95_e2e_s / analytic.evaluate(t.plan).p95_e2e_s
        for t in trials
        if not t.measured and t.predicted.p95_e2e_s
    ]
    assert np.median(ratios) == pytest.approx(1.5, rel=0.1)


def test_a_retried_study_keeps_what_was_measured(sqlite_uow: UnitOfWorkFactory) -> None:
    study, context = start(sqlite_uow, Limits(quality_floor=0.6), live=2)
    body = OptimiseJob(lambda _, facts: SlowReplicas(facts))
    body.run("search", context)
    body.run("live:0", context)
    broken = OptimiseJob(lambda *_: _broken())
    with pytest.raises(EngineFailed):
        broken.run("live:1", context)
    failed = studies.study(sqlite_uow, study.study_id)
    assert failed.state is StudyState.FAILED
    assert "It died. Look." in failed.message
    for step in body.steps(context.job):
        body.run(step, context)
    assert studies.study(sqlite_uow, study.study_id).state is StudyState.DONE
    trials = studies.trials(sqlite_uow, study.study_id)
    assert sum(t.measured is not None for t in trials) == 2


def _broken() -> SlowReplicas:
    raise EngineFailed("It died.", "Look.")


def test_a_study_goes_on_after_a_plan_that_failed(sqlite_uow: UnitOfWorkFactory) -> None:
    study, context = start(sqlite_uow, Limits(quality_floor=0.6), live=3)
    meters: list[Flaky] = []

    def factory(_: object, facts: object) -> Flaky:
        meters[:] = meters or [Flaky(facts, {2})]
        return meters[0]

    body = OptimiseJob(factory)
    for step in body.steps(context.job):
        body.run(step, context)
    trials = studies.trials(sqlite_uow, study.study_id)
    assert sum(t.measured is not None for t in trials) == 2
    (failed,) = [t for t in trials if t.failure]
    assert failed.failure == "large on cpu-core did not start. Look at its log."
    assert failed.evaluation == 1
    assert not failed.on_front
    told = [message for _, message in context.told]
    assert any("Could not measure plan 2 of 3: large on cpu-core did not start" in m for m in told)
    assert any("Measured plan 1 of 3. Times against profiles: " in m for m in told)


def test_three_failures_in_a_row_end_a_study_that_can_be_retried(
    sqlite_uow: UnitOfWorkFactory,
) -> None:
    study, context = start(sqlite_uow, Limits(quality_floor=0.6), live=4)
    with sqlite_uow() as work:
        facts = facts_of(work, study.workload_id, study.limits, NOW)
    meter = Flaky(facts, {1, 2, 3})
    body = OptimiseJob(lambda *_: meter)
    for step in ("search", "live:0", "live:1"):
        body.run(step, context)
    with pytest.raises(EngineFailed, match="did not start"):
        body.run("live:2", context)
    assert studies.study(sqlite_uow, study.study_id).state is StudyState.FAILED
    for step in body.steps(context.job):
        body.run(step, context)
    assert studies.study(sqlite_uow, study.study_id).state is StudyState.DONE
    trials = studies.trials(sqlite_uow, study.study_id)
    assert [bool(t.failure) for t in in_order(trials)] == [True, True, True, False]


def test_an_infeasible_study_skips_its_measurements(sqlite_uow: UnitOfWorkFactory) -> None:
    study, context = start(sqlite_uow, Limits(quality_floor=0.999), live=2)
    body = OptimiseJob(lambda *_: pytest.fail("nothing is measured"))
    for step in body.steps(context.job):
        result = body.run(step, context)
    ended = studies.study(sqlite_uow, study.study_id)
    assert ended.state is StudyState.INFEASIBLE
    assert result["state"] == "infeasible"
    assert result["message"] == ended.message
    assert "short" in ended.message
    origins = [t.origin for t in studies.trials(sqlite_uow, study.study_id)]
    assert origins == [Origin.BASELINE_LARGE, Origin.BASELINE_SMALL]


def test_cancelling_ends_the_study(sqlite_uow: UnitOfWorkFactory) -> None:
    study, context = start(sqlite_uow, Limits(quality_floor=0.8))
    context.cancel_at = 0.3
    with pytest.raises(Cancelled):
        OptimiseJob(lambda *_: pytest.fail("nothing is measured")).run("search", context)
    assert studies.study(sqlite_uow, study.study_id).state is StudyState.CANCELLED
