"""The deploy page about what a plan is watched for, how a switch goes, and ways back."""

from dataclasses import replace
from datetime import timedelta

from core.domain.deployment import Deployment, DeploymentState, reverting
from core.domain.guard import Guard
from core.domain.ids import new_id, utc_now
from core.domain.plan import ReplicaKind, make_plan
from core.ports import UnitOfWorkFactory
from core.services import deployments, inventory
from tests.ui.conftest import OpenPage, texts
from tests.ui.seed import Seeded
from ui import tables
from ui.components_deploy import guard_ends_at, guard_in_words

Full = tuple[UnitOfWorkFactory, Seeded]
KIND = ReplicaKind("large", "cpu-core")


def test_a_plan_is_watched_unless_that_is_turned_off(seeded: Full, open_page: OpenPage) -> None:
    uow, known = seeded
    running = deployments.current(uow)
    others = [t for t in known.front if running and t.plan != running.plan][:2]
    for number, watched in enumerate((True, False)):
        trial = others[number % len(others)]
        at = open_page("deploy", study_id=known.study_id, trial_number=trial.number)
        at.button(key="deploy_open").click().run()
        box = at.checkbox(key="deploy_guarded")
        assert box.value
        assert "5 minutes, more than 5 % of requests fail, or P95 is above" in box.help
        if not watched:
            box.uncheck()
        at.button(key="deploy_confirm").click().run()
        assert not at.exception
        made = deployments.current(uow)
        assert made is not None
        assert made.plan == trial.plan
        assert (made.guard is not None) is watched


def test_a_way_back_is_said_with_its_reason(seeded: Full, open_page: OpenPage) -> None:
    uow, _ = seeded
    bad, earlier = deployments.deployments(uow)
    back = reverting(bad, earlier, new_id(), "20 of 40 requests failed.", utc_now())
    with uow() as work:
        work.deployments.add(back)
        work.commit()
    at = open_page("deploy")
    assert not at.exception
    shown = " ".join(warning.value for warning in at.warning)
    assert f"Went back from plan {bad.plan.plan_id[:6]}: 20 of 40 requests failed." in shown


def test_an_active_plan_says_how_long_it_is_watched(seeded: Full, open_page: OpenPage) -> None:
    uow, _ = seeded
    now = utc_now()
    old = deployments.deployments(uow)[1]
    watched = replace(
        old,
        deployment_id=new_id(),
        state=DeploymentState.ACTIVE,
        created_at=now,
        active_at=now,
        ended_at=None,
        guard=Guard(minutes=30.0),
    )
    with uow() as work:
        work.deployments.add(watched)
        work.commit()
    assert "Watched for another" in texts(open_page("deploy"))
    assert guard_ends_at(watched) == now + timedelta(minutes=30)
    assert guard_ends_at(replace(watched, active_at=None)) is None
    assert guard_in_words(Guard()).endswith("more than 5 % of requests fail")


def test_only_replicas_of_the_new_plan_count_as_ready(seeded: Full) -> None:
    uow, _ = seeded
    running = deployments.current(uow)
    assert running is not None
    replicas = deployments.replicas(uow)
    total = sum(placed.count for placed in running.plan.placement)
    assert tables.ready_of(running.plan, replicas) == (total, total)
    placed = {p.kind: p.count for p in running.plan.placement}
    other = make_plan({**placed, replace(KIND, model="new"): 2}, {})
    assert tables.ready_of(other, replicas) == (total, total + 2)


def test_the_dialog_knows_whether_there_is_room_for_both(seeded: Full) -> None:
    uow, _ = seeded
    devices, replicas = inventory.devices(uow), deployments.replicas(uow)
    held = {i for r in replicas if r.live for i in r.device_ids}
    free = sum(d.schedulable and d.device_id not in held for d in devices)
    running = deployments.current(uow)
    assert isinstance(running, Deployment)
    assert tables.has_room(running.plan, replicas, devices)  # nothing starts
    other = replace(KIND, model="new")
    assert tables.has_room(make_plan({other: free}, {}), replicas, devices) or free == 0
    assert not tables.has_room(make_plan({other: free + 1}, {}), replicas, devices)
