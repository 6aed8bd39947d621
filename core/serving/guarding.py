"""Taking a new plan back when requests fail or take too long under it. Part of a transaction."""

import logging
from datetime import datetime, timedelta

from core.domain.deployment import Deployment, DeploymentState, reverting
from core.domain.guard import breach
from core.domain.ids import new_id
from core.ports import UnitOfWork

log = logging.getLogger(__name__)

EVERY = timedelta(seconds=5)
# Requests of the first moments are still being written down, or waited for the switch.
SETTLING = timedelta(seconds=5)


class Guarding:
    """Watches the active plan for as long as its guard says."""

    def __init__(self) -> None:
        self._looked_at: datetime | None = None

    def step(self, work: UnitOfWork, desired: Deployment, now: datetime) -> None:
        """Write the way back if requests fare worse under the plan than they may."""
        late = self._looked_at is None or now - self._looked_at >= EVERY
        if not (late and desired.guard and watched(desired, now)):
            return
        self._looked_at = now
        limit_s, since = desired.guard.max_p95_e2e_s, desired.active_at or desired.created_at
        answered = work.requests.answered(desired.plan.plan_id, since, limit_s)
        why = breach(desired.guard, answered)
        if why and now - since >= SETTLING:
            take_back(work, desired, why, now)


def watched(desired: Deployment, now: datetime) -> bool:
    """Whether a deployment is active and its guard still holds."""
    if desired.state is not DeploymentState.ACTIVE or desired.guard is None:
        return False
    since = desired.active_at or desired.created_at
    return now - since <= timedelta(minutes=desired.guard.minutes) + SETTLING


def take_back(work: UnitOfWork, desired: Deployment, why: str, now: datetime) -> None:
    """Want the plan that was active before, if there is one.

    The bad plan serves on until the earlier one's replicas are ready: it is a switch like any
    other. A way back is never guarded itself, and one that failed is not tried twice.

    Args:
        why: A sentence.
    """
    known = work.deployments.all()
    earlier = [
        d
        for d in known
        if d.state is DeploymentState.SUPERSEDED and d.active_at and d.plan != desired.plan
    ]
    before = max(earlier, key=lambda d: d.ended_at or d.created_at, default=None)
    tried = any(d.reverts == desired.deployment_id for d in known)
    if before is not None and not tried:
        log.warning("plan %s is taken back: %s", desired.plan.plan_id, why)
        work.deployments.add(reverting(desired, before, new_id(), why, now))
