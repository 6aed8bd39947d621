"""What the optimise job adds to a finished study."""

from dataclasses import replace

import pytest

from core.domain.comparison import Aim, Approach
from core.domain.job import Job
from core.domain.offer import objections
from core.domain.study import Limits, Study, StudyState
from core.optimize.assessment import with_modes
from core.optimize.job import OptimiseJob
from core.ports import UnitOfWorkFactory
from core.services import studies
from tests.unit.planning_problems import NOW
from tests.unit.planning_world import fill


class Context:
    """What a job body is given."""

    def __init__(self, job: Job, uow: UnitOfWorkFactory) -> None:
        self.job, self.uow = job, uow
        self.told: list[tuple[float, str]] = []

    def progress(self, fraction: float, message: str) -> None:
        self.told.append((fraction, message))


def finished(uow: UnitOfWorkFactory, limits: Limits) -> Study:
    """A study whose job has run to the end."""
    fill(uow)
    made = studies.create_study(uow, "s", "w", limits, NOW)
    with uow() as work:
        (job,) = work.jobs.all()
    body, context = OptimiseJob(lambda *_: pytest.fail("nothing is measured")), Context(job, uow)
    results = [body.run(step, context) for step in body.steps(job)]
    study = studies.study(uow, made.study_id)
    assert results[-1]["state"] == study.state.value
    assert all(0 <= fraction <= 1 for fraction, _ in context.told)
    return study


def test_a_study_is_compared_with_the_baselines(sqlite_uow: UnitOfWorkFactory) -> None:
    study = finished(sqlite_uow, Limits(0.85, 0.12, 5.0))
    assert study.state is StudyState.DONE
    assert study.infeasibility is None
    assert [c.aim for c in study.comparisons] == [Aim.SAVINGS, Aim.LATENCY]
    known = studies.trials(sqlite_uow, study.study_id)
    offered = [t for t in known if t.on_front and not objections(t.score, study.limits)]
    assert offered
    for comparison in study.comparisons:
        assert [c.approach for c in comparison.contenders] == list(Approach)
        assert comparison.best.meets
        assert comparison.best.plan in {t.plan for t in known}
    savings = study.comparisons[0].best
    assert savings.score is not None
    assert savings.score.cost_usd_per_hour <= min(t.score.cost_usd_per_hour for t in offered)
    again = with_modes(_facts(sqlite_uow, study), known, study.comparisons, None)
    assert again == known


def _facts(uow: UnitOfWorkFactory, study: Study):
    from core.services.planning import load_facts

    return load_facts(uow, study.workload_id, study.limits, study.created_at)


def test_a_plan_of_a_mode_that_the_study_missed_joins_its_trials(
    sqlite_uow: UnitOfWorkFactory,
) -> None:
    study = finished(sqlite_uow, Limits(0.85, None, 5.0))
    facts = _facts(sqlite_uow, study)
    known = studies.trials(sqlite_uow, study.study_id)
    best = study.comparisons[0].best
    without = [t for t in known if t.plan != best.plan]
    after = with_modes(facts, without, study.comparisons, None)
    assert best.plan in {t.plan for t in after}
    assert len({t.number for t in after}) == len(after)
    measured = [replace(t, measured=t.predicted if t.on_front else None) for t in without]
    beside = with_modes(facts, measured, study.comparisons, None)
    assert [t.on_front for t in beside if t.plan == best.plan] == [False]


def test_an_infeasible_study_says_what_would_have_to_change(
    sqlite_uow: UnitOfWorkFactory,
) -> None:
    study = finished(sqlite_uow, Limits(0.99))
    assert study.state is StudyState.INFEASIBLE
    assert study.infeasibility is not None
    assert not study.infeasibility.latency_counts
    assert [r.constraint.value for r in study.infeasibility.binding] == ["quality floor"]
    assert study.comparisons == ()


def test_plans_that_no_wanted_latency_admits_are_explained_too(
    sqlite_uow: UnitOfWorkFactory,
) -> None:
    study = finished(sqlite_uow, Limits(0.0, None, 0.01))
    assert study.state is StudyState.DONE
    assert study.infeasibility is not None
    assert study.infeasibility.latency_counts
    assert not study.comparisons[0].best.meets
