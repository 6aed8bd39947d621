from dataclasses import replace
from datetime import timedelta

import pytest

from core.domain.deployment import DeploymentState
from core.domain.ids import utc_now
from core.domain.plan import PlanScore
from core.domain.profile import Provenance
from core.domain.study import Limits, Origin, Study, StudyState, Trial
from core.errors import Conflict, NotFound
from core.ports import UnitOfWorkFactory
from core.services import deployments, inventory
from tests.unit.small_world import ALL_LARGE, PLAN, add_devices, add_models

SCORE = PlanScore(Provenance.PREDICTED, 0.08, 3.0, 0.2, 0.4, 0.1, 0.95, 0.9, 0.5)


@pytest.fixture
def uow(sqlite_uow: UnitOfWorkFactory) -> UnitOfWorkFactory:
    add_devices(sqlite_uow, 2)
    add_models(sqlite_uow)
    study = Study("s", "s", "w", Limits(), 0, 0, StudyState.DONE, utc_now())
    broken = replace(SCORE, violations=("quality 0.5 is under the floor 0.8",))
    dear = replace(SCORE, cost_usd_per_hour=0.12)
    with sqlite_uow() as work:
        work.studies.save(study)
        work.studies.save_trials(
            [
                Trial("s", 0, PLAN, Origin.SEED, SCORE, on_front=True),
                Trial("s", 1, PLAN, Origin.SEED, broken),
                Trial("s", 2, ALL_LARGE, Origin.BASELINE_LARGE, dear),
            ]
        )
        work.commit()
    return sqlite_uow


def test_deploying_twice_is_deploying_once(uow: UnitOfWorkFactory) -> None:
    first = deployments.deploy(uow, "s", 0, utc_now())
    assert deployments.deploy(uow, "s", 0, utc_now()) == first
    assert deployments.deployments(uow) == [first]
    assert first.baseline_usd_per_hour == 0.12
    assert first.baseline_note == "2 x large on cpu-core"


def test_a_plan_that_breaks_a_hard_limit_is_refused(uow: UnitOfWorkFactory) -> None:
    with pytest.raises(Conflict, match="under the floor"):
        deployments.deploy(uow, "s", 1, utc_now())
    with pytest.raises(NotFound):
        deployments.deploy(uow, "s", 99, utc_now())
    assert deployments.current(uow) is None


def test_a_plan_that_is_not_sure_to_be_fast_enough_takes_a_reason(
    uow: UnitOfWorkFactory,
) -> None:
    with uow() as work:
        study = work.studies.get("s")
        assert study is not None
        work.studies.save(replace(study, limits=Limits(sla_p95_e2e_s=0.5)))
        unsure = replace(SCORE, p95_e2e_low_s=0.3, p95_e2e_high_s=0.6)
        sure = replace(SCORE, p95_e2e_low_s=0.3, p95_e2e_high_s=0.5)
        known = [
            Trial("s", 0, PLAN, Origin.SEED, unsure),
            Trial("s", 1, ALL_LARGE, Origin.SEED, sure),
            Trial("s", 2, PLAN, Origin.SEED, replace(unsure, violations=("Too dear.",))),
        ]
        work.studies.save_trials(known)
        work.commit()
    for reason in ("", "  "):
        with pytest.raises(Conflict, match=r"not offered.*up to 0.6 s"):
            deployments.deploy(uow, "s", 0, utc_now(), override=reason)
    with pytest.raises(Conflict, match="Too dear"):
        deployments.deploy(uow, "s", 2, utc_now(), override="I want it.")
    assert deployments.current(uow) is None
    made = deployments.deploy(uow, "s", 0, utc_now(), override="I want it.")
    assert made.override.startswith("I want it. (It is not sure to keep the wanted 0.5 s")
    assert deployments.current(uow) == made
    offered = deployments.deploy(uow, "s", 1, utc_now(), override="Needless.")
    assert offered.override == ""


def test_a_plan_larger_than_the_fleet_is_refused(uow: UnitOfWorkFactory) -> None:
    inventory.set_enabled(uow, "n/cpu/1", False)
    with pytest.raises(Conflict, match="has 1 usable"):
        deployments.deploy(uow, "s", 0, utc_now())
    assert deployments.current(uow) is None


def test_stopping_a_roll_out_goes_back_to_the_active_plan(uow: UnitOfWorkFactory) -> None:
    now = utc_now()
    first = deployments.deploy_plan(uow, PLAN, now)
    with uow() as work:
        work.deployments.transition(
            first.deployment_id, [DeploymentState.ROLLING], DeploymentState.ACTIVE, now
        )
        work.commit()
    second = deployments.deploy_plan(uow, ALL_LARGE, now + timedelta(seconds=1))
    assert current_id(uow) == second.deployment_id
    deployments.stop(uow, second.deployment_id, now)
    assert current_id(uow) == first.deployment_id
    deployments.stop(uow, first.deployment_id, now)
    assert deployments.current(uow) is None
    with pytest.raises(Conflict):
        deployments.stop(uow, first.deployment_id, now)


def test_an_earlier_plan_can_be_deployed_again(uow: UnitOfWorkFactory) -> None:
    now = utc_now()
    first = deployments.deploy_plan(uow, PLAN, now)
    deployments.deploy_plan(uow, ALL_LARGE, now + timedelta(seconds=1))
    later = now + timedelta(seconds=2)
    again = deployments.deploy_again(uow, first.deployment_id, later)
    assert again.plan == PLAN
    assert again.deployment_id != first.deployment_id
    assert deployments.deploy_again(uow, first.deployment_id, later) == again
    with pytest.raises(NotFound):
        deployments.deploy_again(uow, "ghost", later)


def current_id(uow: UnitOfWorkFactory) -> str | None:
    found = deployments.current(uow)
    return found.deployment_id if found else None
