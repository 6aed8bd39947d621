"""What to change so that the replicas become the desired plan. Pure functions.

Only replicas of the owner `deployment` are looked at; those of jobs never count.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.domain.deployment import Deployment, Replica, ReplicaState
from core.domain.plan import ReplicaKind, ServingPlan

MAX_RESTARTS = 2
LONGEST_BACK_OFF = timedelta(seconds=60)
# Who served this long before dying did start: the next start is a first one again.
STABLE = timedelta(seconds=60)

# Where a replica is on its way to serving; what is further along is kept first.
_PREFERENCE = {
    ReplicaState.READY: 0,
    ReplicaState.STARTING: 1,
    ReplicaState.PENDING: 2,
    ReplicaState.DRAINING: 3,
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """The desired plan against what is there.

    Attributes:
        kept: Replicas that belong to the plan.
        missing: Kinds to add, one entry per replica.
        surplus: Wanted replicas that the plan does not have.
    """

    kept: tuple[Replica, ...]
    missing: tuple[ReplicaKind, ...]
    surplus: tuple[Replica, ...]

    @property
    def complete(self) -> bool:
        """Whether every replica of the plan is ready."""
        return not self.missing and all(r.state is ReplicaState.READY for r in self.kept)


def compare(plan: ServingPlan | None, wanted: Collection[Replica]) -> Comparison:
    """Match wanted replicas with a plan; without a plan all of them are surplus."""
    open_places = Counter({p.kind: p.count for p in plan.placement} if plan else {})
    kept, surplus = [], []
    for replica in sorted(wanted, key=lambda r: (_PREFERENCE[r.state], r.created_at)):
        if open_places[replica.kind] > 0:
            open_places[replica.kind] -= 1
            kept.append(replica)
        else:
            surplus.append(replica)
    return Comparison(tuple(kept), tuple(open_places.elements()), tuple(surplus))


def restarts_after(failed: Replica) -> int:
    """Return the `restarts` of the replica that follows a failed one."""
    served = failed.stopped_at - failed.ready_at if failed.ready_at and failed.stopped_at else None
    return 1 if served is not None and served >= STABLE else failed.restarts + 1


def exhausted(failed: Replica) -> bool:
    """Whether a replica that failed was the last try."""
    return restarts_after(failed) > MAX_RESTARTS


def may_start_at(replica: Replica) -> datetime:
    """Return when a pending replica may start: later after each failure (2 s, 4 s, ... 60 s)."""
    if replica.restarts == 0:
        return replica.created_at
    wait = timedelta(seconds=2.0 ** min(replica.restarts, 6))
    return replica.created_at + min(wait, LONGEST_BACK_OFF)


def unanswered_failures(desired: Deployment, owned: Collection[Replica]) -> list[Replica]:
    """Return failed replicas of this roll-out that have no successor yet, newest first.

    A failed row stays wanted until its successor is written.
    """
    found = [
        r
        for r in owned
        if r.state is ReplicaState.FAILED
        and r.wanted
        and (r.stopped_at or r.created_at) >= desired.created_at
    ]
    return sorted(found, key=lambda r: r.stopped_at or r.created_at, reverse=True)
