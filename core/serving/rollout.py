"""Rolling out deployments: writes which replicas are wanted, and when a roll-out is over."""

from collections.abc import Callable, Collection
from datetime import datetime

from core.domain.deployment import SERVING, Deployment, DeploymentState, Replica, ReplicaState
from core.domain.fleet import Device
from core.domain.ids import new_id
from core.domain.plan import ReplicaKind, ServingPlan
from core.ports import UnitOfWork, UnitOfWorkFactory
from core.serving import ledger, plan_changes, room
from core.serving.guarding import Guarding, take_back, watched

MESSAGE_CHARS = 3000


class RollOut:
    """Compares the desired plan with the serving replicas; starts and stops nothing itself."""

    def __init__(self, uow: UnitOfWorkFactory, clock: Callable[[], datetime]) -> None:
        self._uow = uow
        self._clock = clock
        self._guarding = Guarding()

    def step(self, usable: Callable[[Collection[Device]], list[Device]]) -> list[ReplicaKind]:
        """Write what has to change now; return the kinds that wait, in the order to place them.

        Args:
            usable: Picks those of the known devices that replicas may be placed on.
        """
        order = list[ReplicaKind]()
        with self._uow() as work:
            desired = work.deployments.current()
            replicas = work.replicas.unfinished()
            wanted = [r for r in replicas if r.owner == SERVING and r.wanted]
            found = plan_changes.compare(desired.plan if desired else None, wanted)
            if desired and found.missing:
                self._replace_missing(work, desired, found.missing)
            elif desired and found.complete and desired.state is DeploymentState.ROLLING:
                self._activate(work, desired)
            drop: Collection[Replica] = found.surplus
            if desired and not found.complete:
                switch = _switch(work, desired.plan, found, replicas, usable)
                step, order = room.make_room(switch), room.in_order(switch)
                # What holds no device and is not wanted any more goes at once.
                drop = [*step.victims, *(r for r in found.surplus if not r.live)]
                if step.flip:
                    self._activate(work, desired)
            if desired:
                self._guarding.step(work, desired, self._clock())
            for replica in drop:
                work.replicas.set_wanted(replica.replica_id, False)
            work.commit()
        return order

    def _replace_missing(
        self, work: UnitOfWork, desired: Deployment, missing: Collection[ReplicaKind]
    ) -> None:
        """Add the missing replicas, or fail a roll-out whose replica used up its tries.

        An active deployment is never given up: its replicas are tried again for ever. One that
        requests follow already, though not all its replicas came up, may be taken back.
        """
        failures = plan_changes.unanswered_failures(desired, work.replicas.by_owner(SERVING))
        rolling = desired.state is DeploymentState.ROLLING
        last = next((f for f in failures if plan_changes.exhausted(f)), None)
        if last is not None and watched(desired, self._clock()):
            why = f"{last.kind.label} failed {last.restarts + 1} times."
            take_back(work, desired, why, self._clock())
        if last is not None and rolling:
            self._fail(work, desired, last)
        else:
            for kind in missing:
                failed = next((f for f in failures if f.kind == kind), None)
                if failed is not None:
                    failures.remove(failed)
                    work.replicas.set_wanted(failed.replica_id, False)
                work.replicas.add(self._new_replica(kind, failed))
        for failure in failures:
            work.replicas.set_wanted(failure.replica_id, False)

    def _fail(self, work: UnitOfWork, desired: Deployment, last: Replica) -> None:
        work.deployments.transition(
            desired.deployment_id,
            [DeploymentState.ROLLING],
            DeploymentState.FAILED,
            self._clock(),
            f"{last.kind.label} failed {last.restarts + 1} times. {last.message}"[:MESSAGE_CHARS],
        )

    def _new_replica(self, kind: ReplicaKind, failed: Replica | None) -> Replica:
        return Replica(
            replica_id=new_id(),
            owner=SERVING,
            kind=kind,
            wanted=True,
            state=ReplicaState.PENDING,
            created_at=self._clock(),
            restarts=plan_changes.restarts_after(failed) if failed else 0,
            message=f"Starting again after: {failed.message}"[:MESSAGE_CHARS] if failed else "",
        )

    def _activate(self, work: UnitOfWork, desired: Deployment) -> None:
        now = self._clock()
        for older in work.deployments.all():
            if older.deployment_id != desired.deployment_id:
                bad = older.deployment_id == desired.reverts
                work.deployments.transition(
                    older.deployment_id,
                    [DeploymentState.ACTIVE],
                    DeploymentState.FAILED if bad else DeploymentState.SUPERSEDED,
                    now,
                    desired.message if bad else "",
                )
        work.deployments.transition(
            desired.deployment_id,
            [DeploymentState.ROLLING],
            DeploymentState.ACTIVE,
            now,
            desired.message,
        )


def _switch(
    work: UnitOfWork,
    desired: ServingPlan,
    found: plan_changes.Comparison,
    replicas: Collection[Replica],
    usable: Callable[[Collection[Device]], list[Device]],
) -> room.Switch:
    active = work.deployments.active()
    devices = usable(work.devices.all())
    # Devices of replicas that are leaving anyhow will be free without further victims.
    held = ledger.held_devices([r for r in replicas if r.wanted])
    pending = [r.kind for r in found.kept if r.state is ReplicaState.PENDING]
    return room.Switch(
        current=active.plan if active else None,
        desired=desired,
        kept=found.kept,
        surplus=[r for r in found.surplus if r.live],
        needs=[*found.missing, *pending],
        free=[d for d in devices if d.device_id not in held],
        usable=devices,
    )
