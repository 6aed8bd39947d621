"""Changing one replica row, on condition of its state."""

import logging
from collections.abc import Collection
from typing import Any

from core.domain.deployment import Replica, ReplicaState
from core.ports import UnitOfWorkFactory

log = logging.getLogger(__name__)


def move(
    uow: UnitOfWorkFactory,
    replica: Replica,
    from_states: Collection[ReplicaState],
    to: ReplicaState,
    **changes: Any,
) -> bool:
    """Change state and fields in a transaction of its own; False when the state was another."""
    with uow() as work:
        moved = work.replicas.transition(replica.replica_id, [*from_states], to, changes)
        work.commit()
    if moved and replica.state is not to:
        log.info("replica %s (%s) is %s", replica.replica_id[:8], replica.kind.label, to.value)
    return moved
