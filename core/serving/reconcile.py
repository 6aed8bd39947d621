"""The reconcile loop: makes the replicas that run into the replicas that are wanted, for ever.

One controller runs it. Every round reads the rows, looks at the processes, and moves each replica
along its life by conditional updates; so it may die at any point and the next controller carries
on: what still runs is kept, what died is cleaned up and replaced.
"""

import logging
from collections.abc import Callable, Collection
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

from core.domain.deployment import LIVE_STATES, SERVING, Replica, ReplicaState
from core.domain.fleet import Device
from core.domain.ids import utc_now
from core.ports import GpuProbe, Launcher, UnitOfWorkFactory
from core.serving import server_log
from core.serving.command_line import engine_version
from core.serving.endings import Endings
from core.serving.placement import PENDING, SURVIVABLE, Placement
from core.serving.rollout import MESSAGE_CHARS, RollOut
from core.serving.rows import move
from core.settings import Settings

log = logging.getLogger(__name__)

# A replica that an ended job leaves stays so long for the next job to take over.
JOB_LINGER = timedelta(seconds=20)
# The gateway looks for replicas every second: after this it sends a draining one nothing new.
DRAIN_NOTICE = timedelta(seconds=2.5)
# A server that says nothing of its requests for so long has none that will be answered.
SILENCE = timedelta(seconds=30)
CARE_EVERY = timedelta(seconds=10)
# A busy server may be slow to answer; one that misses this many looks in a row hangs.
MISSES_ALLOWED = 6
MESSAGE_LINES = 8
CAUSE_LINES = 400


class Reconciler:
    """Owns every edge of a replica's life, and the roll-out of deployments.

    Args:
        uow_factory: Opens one transaction.
        launcher: Starts and stops servers.
        probe: The devices of this host.
        settings: Ports and time limits.
        clock: Tells the time (UTC).
        executor: Runs what takes long (stopping); threads of its own unless given.
    """

    def __init__(
        self,
        uow_factory: UnitOfWorkFactory,
        launcher: Launcher,
        probe: GpuProbe,
        settings: Settings,
        clock: Callable[[], datetime] = utc_now,
        executor: Executor | None = None,
    ) -> None:
        self._uow = uow_factory
        self._launcher = launcher
        self._probe = probe
        self._settings = settings
        self._clock = clock
        self._executor = executor or ThreadPoolExecutor(8, thread_name_prefix="stop-replica")
        self._endings = Endings(launcher, probe, self._executor)
        self._since: dict[tuple[str, str], datetime] = {}
        self._misses: dict[str, int] = {}
        self._placement = Placement(uow_factory, launcher, probe, settings, clock)
        self._roll_out = RollOut(uow_factory, clock)
        self._devices: list[Device] = []

    def tick(self) -> None:
        """Do one round. Quick; what goes wrong with one replica does not touch the others."""
        self._record_endings()
        with self._uow() as work:
            replicas = work.replicas.unfinished()
            self._devices = work.devices.all()
        for replica in replicas:
            try:
                self._look_at(replica)
            except SURVIVABLE:
                log.exception("replica %s: trying again", replica.replica_id)
        self._record_endings()
        order = self._roll_out.step(self._placement.usable)
        self._placement.start_pending(
            order, lambda replica, why: self._end(replica, ReplicaState.FAILED, why)
        )
        self._forget({r.replica_id for r in replicas})

    def shutdown(self) -> None:
        """Stop every live replica and wait until it is gone; what is wanted stays written."""
        with self._uow() as work:
            live = [r for r in work.replicas.unfinished() if r.live]
        for replica in live:
            self._move(replica, [ReplicaState.READY], ReplicaState.DRAINING)
            self._end(replica, ReplicaState.STOPPED)
        self._record_endings(wait=True)
        self._executor.shutdown()

    def _look_at(self, replica: Replica) -> None:
        if replica.replica_id in self._endings:
            return
        if replica.state is ReplicaState.PENDING:
            if not replica.wanted:
                self._move(replica, [PENDING], ReplicaState.STOPPED, **self._over())
        elif not self._launcher.alive(replica):
            self._died(replica)
        elif replica.state is ReplicaState.STARTING:
            self._look_at_starting(replica)
        elif replica.state is ReplicaState.READY:
            self._look_at_ready(replica)
        elif self._drained(replica):
            self._end_drained(replica)

    def _died(self, replica: Replica) -> None:
        """Its leader is gone: end what is left of it before its devices count as free."""
        self._move(replica, [ReplicaState.READY], ReplicaState.DRAINING)
        if not replica.wanted:
            self._end(replica, ReplicaState.STOPPED)
            return
        doing = "while it served" if replica.ready_at else "at start"
        self._end(replica, ReplicaState.FAILED, self._failure(replica, f"It died {doing}."))

    def _look_at_starting(self, replica: Replica) -> None:
        if not replica.wanted:
            self._end(replica, ReplicaState.STOPPED)
        elif self._launcher.healthy(replica):
            self._move(
                replica,
                [ReplicaState.STARTING],
                ReplicaState.READY,
                ready_at=self._clock(),
                engine=engine_version(),
                memory_bytes=self._launcher.memory_bytes(replica),
                message="",
            )
        elif self._clock() - (replica.started_at or replica.created_at) > self._start_limit():
            limit_s = self._settings.replica_start_timeout_s
            what = f"It did not answer within {limit_s:.0f} s of its start."
            self._end(replica, ReplicaState.FAILED, self._failure(replica, what))

    def _look_at_ready(self, replica: Replica) -> None:
        if not replica.wanted:
            if self._lingered(replica):
                self._drain(replica)
            return
        self._since.pop(("unwanted", replica.replica_id), None)
        if self._elapsed("care", replica) >= CARE_EVERY:
            self._since["care", replica.replica_id] = self._clock()
            self._care(replica)

    def _care(self, replica: Replica) -> None:
        """See now and then whether a ready replica still answers, and what memory it takes."""
        if self._launcher.healthy(replica):
            self._misses.pop(replica.replica_id, None)
            memory_bytes = self._launcher.memory_bytes(replica)
            ready = ReplicaState.READY
            self._move(replica, [ready], ready, memory_bytes=memory_bytes)
            return
        missed = self._misses.get(replica.replica_id, 0) + 1
        self._misses[replica.replica_id] = missed
        if missed >= MISSES_ALLOWED:
            self._move(replica, [ReplicaState.READY], ReplicaState.DRAINING)
            what = "It runs, but stopped answering."
            self._end(replica, ReplicaState.FAILED, self._failure(replica, what))

    def _lingered(self, replica: Replica) -> bool:
        """A job's replica waits a moment for the next job, unless its devices are needed."""
        if replica.owner == SERVING or self._placement.blocked:
            return True
        return self._elapsed("unwanted", replica) >= JOB_LINGER

    def _drain(self, replica: Replica) -> None:
        with self._uow() as work:
            # Taking it from itself locks the row, and fails if a job has taken it over meanwhile.
            if work.replicas.change_owner(replica.replica_id, replica.owner, replica.owner):
                work.replicas.set_wanted(replica.replica_id, False)
                work.replicas.transition(
                    replica.replica_id, [ReplicaState.READY], ReplicaState.DRAINING
                )
                work.commit()

    def _drained(self, replica: Replica) -> bool:
        """Whether nobody will notice when it stops: told long enough ago, no request left."""
        if replica.owner != SERVING:
            return True
        elapsed = self._elapsed("draining", replica)
        if elapsed < DRAIN_NOTICE:
            return False
        in_flight = self._launcher.requests_in_flight(replica)
        if in_flight is None:  # it may only be busy
            return self._elapsed("silent", replica) >= SILENCE
        self._since.pop(("silent", replica.replica_id), None)
        # The gateway lets no answer take longer than that.
        limit_s = self._settings.request_time_limit_s
        return in_flight == 0 or elapsed >= DRAIN_NOTICE + timedelta(seconds=limit_s)

    def _end_drained(self, replica: Replica) -> None:
        if replica.wanted:
            # Nobody drains what is wanted: an earlier controller was ending it when it stopped.
            what = "The controller stopped while it was ending this replica."
            self._end(replica, ReplicaState.FAILED, what)
        else:
            self._end(replica, ReplicaState.STOPPED)

    def _end(self, replica: Replica, state: ReplicaState, message: str = "") -> None:
        devices = [d for d in self._devices if d.device_id in replica.device_ids]
        self._endings.begin(replica, state, message, devices)

    def _record_endings(self, wait: bool = False) -> None:
        for ending in self._endings.finished(wait):
            changes: dict[str, Any] = {"stopped_at": self._clock(), "message": ending.message}
            if ending.state is ReplicaState.STOPPED:
                # Whoever still wants one writes a new row.
                changes["wanted"] = False
            self._move(ending.replica, [*LIVE_STATES, PENDING], ending.state, **changes)

    def _move(
        self,
        replica: Replica,
        from_states: Collection[ReplicaState],
        to: ReplicaState,
        **changes: Any,
    ) -> bool:
        return move(self._uow, replica, from_states, to, **changes)

    def _over(self) -> dict[str, Any]:
        return {"stopped_at": self._clock(), "wanted": False}

    def _start_limit(self) -> timedelta:
        return timedelta(seconds=self._settings.replica_start_timeout_s)

    def _elapsed(self, what: str, replica: Replica) -> timedelta:
        """Time since this was first asked about a replica."""
        now = self._clock()
        return now - self._since.setdefault((what, replica.replica_id), now)

    def _failure(self, replica: Replica, what: str) -> str:
        """What happened, its likely cause, and the last lines of the log."""
        cause = server_log.cause(self._launcher.log_tail(replica, CAUSE_LINES))
        tail = self._launcher.log_tail(replica, MESSAGE_LINES)
        parts = [what, cause, f"Last log lines:\n{tail}" if tail else "Its log is empty."]
        return "\n".join(part for part in parts if part)[:MESSAGE_CHARS]

    def _forget(self, known: set[str]) -> None:
        """Drop notes about replicas that are over."""
        self._since = {key: at for key, at in self._since.items() if key[1] in known}
        self._misses = {key: n for key, n in self._misses.items() if key in known}
