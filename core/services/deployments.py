"""Use cases of deployments: write the desired plan; the controller makes it so."""

from dataclasses import replace
from datetime import datetime

from core.domain.deployment import Deployment, DeploymentState, Replica
from core.domain.guard import Guard
from core.domain.ids import new_id
from core.domain.offer import broken_limits, doubts
from core.domain.plan import PlanScore, ServingPlan
from core.domain.study import Limits, Origin, Trial
from core.errors import Conflict, NotFound
from core.ports import UnitOfWork, UnitOfWorkFactory
from core.services.catalog import require_model_that_fits

SLOWER = 2.0
WANTED = (DeploymentState.ROLLING, DeploymentState.ACTIVE)


def deploy(
    uow: UnitOfWorkFactory,
    study_id: str,
    trial_number: int,
    now: datetime,
    *,
    override: str = "",
    guarded: bool = True,
) -> Deployment:
    """Make a plan of a study the desired one. A second click on the running plan does nothing.

    Args:
        override: Why a plan is deployed that is not sure to keep the wanted latency; stored with
            the deployment, beside what speaks against it. Hard limits cannot be overridden.
        guarded: Whether the plan is taken back if requests fail or take far too long in its
            first minutes.

    Raises:
        NotFound: No such trial, model or device.
        Conflict: The plan breaks a hard limit, or is not offered and no reason is given.
    """
    with uow() as work:
        study, trials = work.studies.get(study_id), work.studies.trials(study_id)
    trial = next((t for t in trials if t.number == trial_number), None)
    if trial is None or study is None:
        raise NotFound("There is no such plan in this study.", "Pick one on the Optimise page.")
    against = _require_deployable(trial, study.limits, override)
    baseline = next((t for t in trials if t.origin is Origin.BASELINE_LARGE), None)
    return deploy_plan(
        uow,
        trial.plan,
        now,
        study_id=study_id,
        predicted=trial.predicted,
        baseline=baseline,
        override=f"{override.strip()} ({' '.join(against)})" if against else "",
        guard=guard_for(trial.score, study.limits) if guarded else None,
    )


def guard_for(score: PlanScore, limits: Limits) -> Guard:
    """Return what a new plan is watched for: errors, and twice the latency to be expected."""
    known = (limits.sla_p95_e2e_s, score.p95_e2e_s, score.p95_e2e_high_s)
    expected_s = max((seconds for seconds in known if seconds is not None), default=None)
    return Guard(max_p95_e2e_s=None if expected_s is None else SLOWER * expected_s)


def _require_deployable(trial: Trial, limits: Limits, override: str) -> tuple[str, ...]:
    """Return what is overridden; nothing for a plan that is offered."""
    broken = broken_limits(trial.score, limits)
    if broken:
        raise Conflict(
            "This plan cannot be deployed: " + " ".join(broken),
            "Pick a plan on the Pareto front, or relax the limit.",
        )
    against = doubts(trial.score, limits)
    if against and not override.strip():
        raise Conflict(
            "This plan is not offered for deployment: " + " ".join(against),
            "Pick a plan that is offered, or give a reason to deploy this one all the same.",
        )
    return against


def deploy_plan(
    uow: UnitOfWorkFactory,
    plan: ServingPlan,
    now: datetime,
    *,
    study_id: str | None = None,
    predicted: PlanScore | None = None,
    baseline: Trial | None = None,
    override: str = "",
    guard: Guard | None = None,
) -> Deployment:
    """Make any plan the desired one; returns the current deployment if it is that plan already.

    Raises:
        NotFound: A model or its devices are missing.
        InvalidInput: A model does not fit.
    """
    deployment = Deployment(
        deployment_id=new_id(),
        plan=plan,
        study_id=study_id,
        state=DeploymentState.ROLLING,
        created_at=now,
        predicted=predicted,
        baseline_usd_per_hour=baseline.predicted.cost_usd_per_hour if baseline else None,
        baseline_note=_placement_in_words(baseline.plan) if baseline else "",
        override=override,
        guard=guard,
    )
    with uow() as work:
        current = work.deployments.current()
        if current and current.plan == plan:
            return current
        _require_devices(work, plan)
        _end_unfinished(work, now)
        work.deployments.add(deployment)
        work.commit()
    return deployment


def deploy_again(uow: UnitOfWorkFactory, deployment_id: str, now: datetime) -> Deployment:
    """Go back to an earlier plan.

    Raises:
        NotFound: There is no such deployment, or its devices are gone.
    """
    with uow() as work:
        old = work.deployments.get(deployment_id)
        if old is None:
            raise NotFound("There is no such deployment.", "Reload the page.")
        current = work.deployments.current()
        if current and current.plan == old.plan:
            return current
        _require_devices(work, old.plan)
        _end_unfinished(work, now)
        again = replace(
            old,
            deployment_id=new_id(),
            state=DeploymentState.ROLLING,
            created_at=now,
            active_at=None,
            ended_at=None,
            message="",
            reverts="",
        )
        work.deployments.add(again)
        work.commit()
    return again


def stop(uow: UnitOfWorkFactory, deployment_id: str, now: datetime) -> None:
    """Stop a deployment; the controller then drains and stops its replicas.

    Stopping one that is still rolling out goes back to the plan that is active.

    Raises:
        Conflict: It does not run.
    """
    with uow() as work:
        message = "Stopped by the operator"
        if not work.deployments.transition(
            deployment_id, WANTED, DeploymentState.STOPPED, now, message
        ):
            raise Conflict("This deployment does not run.", "Reload the page.")
        work.commit()


def current(uow: UnitOfWorkFactory) -> Deployment | None:
    """Return the desired deployment: rolling or active; None when nothing is wanted."""
    with uow() as work:
        return work.deployments.current()


def deployments(uow: UnitOfWorkFactory) -> list[Deployment]:
    """Return every deployment, newest first."""
    with uow() as work:
        return work.deployments.all()


def replicas(uow: UnitOfWorkFactory) -> list[Replica]:
    """Return every replica, newest first, stopped ones included."""
    with uow() as work:
        return work.replicas.all()


def _require_devices(work: UnitOfWork, plan: ServingPlan) -> None:
    """Check that every kind of the plan can run on this fleet, before anything is stopped."""
    needed: dict[str, int] = {}
    for placed in plan.placement:
        require_model_that_fits(work, placed.kind.model, placed.kind.sku, placed.kind.tp)
        needed[placed.kind.sku] = (
            needed.get(placed.kind.sku, 0) + placed.count * placed.kind.devices
        )
    for sku, count in needed.items():
        usable = sum(d.sku == sku and d.schedulable for d in work.devices.all())
        if usable < count:
            raise Conflict(
                f"The plan needs {count} x {sku}; the fleet has {usable} usable.",
                "Enable devices on the Inventory page, or pick a smaller plan.",
            )


def _end_unfinished(work: UnitOfWork, now: datetime) -> None:
    """A plan that was still rolling out gives way; the active one serves until the new one is."""
    for older in work.deployments.all():
        work.deployments.transition(
            older.deployment_id,
            [DeploymentState.ROLLING],
            DeploymentState.SUPERSEDED,
            now,
            "Replaced before it was ready",
        )


def _placement_in_words(plan: ServingPlan) -> str:
    return ", ".join(f"{placed.count} x {placed.kind.label}" for placed in plan.placement)
