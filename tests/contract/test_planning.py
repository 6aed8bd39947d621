"""Studies, trials, deployments."""

from dataclasses import replace

import pytest

from core.domain.deployment import DeploymentState
from core.domain.guard import Guard
from core.domain.plan import PlanScore
from core.domain.profile import Provenance
from core.domain.study import Origin, StudyState
from core.errors import Conflict
from core.ports import UnitOfWorkFactory
from tests.contract import samples

ROLLING, ACTIVE = DeploymentState.ROLLING, DeploymentState.ACTIVE
STOPPED, SUPERSEDED = DeploymentState.STOPPED, DeploymentState.SUPERSEDED


def test_a_study_is_replaced_as_it_proceeds(any_uow: UnitOfWorkFactory) -> None:
    done = samples.study(
        state=StudyState.DONE, finished_at=samples.later(5), reference=(0.5, 10.0, 0.25)
    )
    with any_uow() as work:
        work.studies.save(samples.study())
        work.studies.save(samples.study("s2", 1))
        work.studies.save(done)
        work.commit()
    with any_uow() as work:
        assert work.studies.get("s1") == done
        assert work.studies.get("s9") is None
        assert work.studies.all() == [samples.study("s2", 1), done]


def test_trials_come_by_number_and_may_be_measured_later(any_uow: UnitOfWorkFactory) -> None:
    saturated = PlanScore(Provenance.PREDICTED, 0.1, 2.0, None, None, None, 0.9, 0.8, 1.2)
    first = samples.trial(0, predicted=saturated, origin=Origin.BASELINE_SMALL)
    measured = samples.trial(10, measured=samples.SCORE, on_front=True)
    with any_uow() as work:
        work.studies.save(samples.study())
        work.studies.save(samples.study("s2"))
        work.studies.save_trials([samples.trial(10), samples.trial(2), first])
        work.studies.save_trials([measured, samples.trial(0, "s2")])
        work.studies.save_trials([])
        work.commit()
    with any_uow() as work:
        assert work.studies.trials("s1") == [first, samples.trial(2), measured]
        assert work.studies.trials("s2") == [samples.trial(0, "s2")]
        assert work.studies.trials("s9") == []


def test_telemetry_and_failures_of_trials_are_kept(any_uow: UnitOfWorkFactory) -> None:
    failed = samples.trial(1, failure="It did not start.", evaluation=5)
    with any_uow() as work:
        work.studies.save(samples.study())
        work.studies.save_trials([samples.trial(0), samples.trial(1)])
        work.studies.save_trials([samples.measured_trial(0), failed])
        work.commit()
    with any_uow() as work:
        assert work.studies.trials("s1") == [samples.measured_trial(0), failed]
    assert samples.measured_trial().evaluated
    assert failed.evaluated
    assert not samples.trial().evaluated


def test_saving_a_study_again_keeps_its_trials(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as work:
        work.studies.save(samples.study())
        work.studies.save_trials([samples.trial()])
        work.studies.save(samples.study(state=StudyState.DONE))
        assert work.studies.trials("s1") == [samples.trial()]


def test_a_trial_needs_its_study(any_uow: UnitOfWorkFactory) -> None:
    with pytest.raises(Conflict), any_uow() as work:
        work.studies.save_trials([samples.trial(0, "nobody")])


def test_no_deployment_means_nothing_wanted(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as work:
        assert work.deployments.current() is None
        assert work.deployments.active() is None
        assert work.deployments.get("d1") is None
        assert work.deployments.all() == []
        assert not work.deployments.transition("d1", [ROLLING], ACTIVE, samples.NOW)


def test_the_newest_plan_is_wanted_while_the_old_one_serves(any_uow: UnitOfWorkFactory) -> None:
    bare = replace(samples.deployment("d2", 1), study_id=None, predicted=None)
    with any_uow() as work:
        work.deployments.add(samples.deployment("d1", 0))
        assert work.deployments.transition("d1", [ROLLING], ACTIVE, samples.later(0.5))
        work.deployments.add(bare)
        work.commit()
    with any_uow() as work:
        old = samples.deployment("d1", 0, state=ACTIVE, active_at=samples.later(0.5))
        assert work.deployments.current() == bare
        assert work.deployments.active() == old
        assert work.deployments.all() == [bare, old]


def test_a_deployment_ends_with_its_time_and_reason(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as work:
        work.deployments.add(samples.deployment())
        work.deployments.transition("d1", [ROLLING], ACTIVE, samples.later(1))
        assert work.deployments.transition(
            "d1", [ROLLING, ACTIVE], STOPPED, samples.later(9), "By the operator"
        )
        work.commit()
    with any_uow() as work:
        found = work.deployments.get("d1")
        assert found == samples.deployment(
            state=STOPPED,
            active_at=samples.later(1),
            ended_at=samples.later(9),
            message="By the operator",
        )
        assert work.deployments.current() is None


def test_a_deployment_that_moved_on_stays(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as work:
        work.deployments.add(samples.deployment(state=SUPERSEDED))
        assert not work.deployments.transition("d1", [ROLLING, ACTIVE], STOPPED, samples.NOW)
        assert work.deployments.get("d1") == samples.deployment(state=SUPERSEDED)


def test_what_a_deployment_is_watched_for_and_takes_back_is_kept(
    any_uow: UnitOfWorkFactory,
) -> None:
    guard = Guard(minutes=2.5, max_error_rate=0.1, max_p95_e2e_s=1.5)
    made = samples.deployment("d2", 1, guard=guard, reverts="d1")
    with any_uow() as work:
        work.deployments.add(made)
        work.commit()
    with any_uow() as work:
        assert work.deployments.get("d2") == made


def test_deployments_are_added_once(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as work:
        work.deployments.add(samples.deployment())
        work.commit()
    with pytest.raises(Conflict), any_uow() as work:
        work.deployments.add(samples.deployment())
