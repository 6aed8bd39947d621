"""Giving devices to pending replicas and starting their servers."""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import datetime
from enum import Enum

import psutil

from core.domain.catalog import ModelSpec
from core.domain.deployment import SERVING, Replica, ReplicaState
from core.domain.fleet import Device
from core.domain.plan import ReplicaKind
from core.errors import BOuteError, EngineFailed
from core.ports import GpuProbe, Launcher, UnitOfWorkFactory
from core.serving import ledger, plan_changes
from core.serving.ports_pool import free_port
from core.serving.room import arranged
from core.serving.rows import move
from core.settings import Settings

log = logging.getLogger(__name__)

# What may go wrong with one replica without touching the others.
SURVIVABLE = (BOuteError, OSError, psutil.Error)

PENDING = ReplicaState.PENDING
STARTING = ReplicaState.STARTING


class Placed(Enum):
    """When a replica gets its devices: now, when replicas give them back, or nobody knows."""

    NOW = "now"
    WHEN_FREE = "when free"
    UNKNOWN = "unknown"


class Placement:
    """Starts pending replicas on devices that the ledger says are free."""

    def __init__(
        self,
        uow: UnitOfWorkFactory,
        launcher: Launcher,
        probe: GpuProbe,
        settings: Settings,
        clock: Callable[[], datetime],
    ) -> None:
        self._uow = uow
        self._launcher = launcher
        self._probe = probe
        self._settings = settings
        self._clock = clock
        self._blocked = False

    @property
    def blocked(self) -> bool:
        """Whether a replica waits for devices that others hold."""
        return self._blocked

    def usable(self, known: Collection[Device]) -> list[Device]:
        """Return the known devices that may be used and that this host has right now."""
        here = {d.device_id: d for d in self._probe.devices()}
        fresh = [
            replace(here[d.device_id], enabled=d.enabled) for d in known if d.device_id in here
        ]
        return [d for d in fresh if d.schedulable]

    def start_pending(
        self, order: Sequence[ReplicaKind], on_failure: Callable[[Replica, str], None]
    ) -> None:
        """Place and start what is pending and due: the deployment's first, then the jobs' oldest.

        Args:
            order: In which the deployment's kinds get devices: as room is made for them.
            on_failure: Told about a replica that could not be started, and why.
        """
        self._blocked = False
        with self._uow() as work:
            replicas = work.replicas.unfinished()
            known = work.devices.all()
        due = self._due(replicas, order)
        usable = self.usable(known) if due else []
        skus, devices = set[str](), set[str]()
        for replica in due:
            try:
                if replica.owner != SERVING and replica.kind.sku in skus:
                    self._wait(replica, f"Waits in line for {replica.kind.sku}")
                elif self._place(replica, usable, devices) is Placed.WHEN_FREE:
                    # No job behind it may take the devices that become free for it.
                    skus.add(replica.kind.sku)
                    self._blocked = True
            except SURVIVABLE as error:
                log.exception("replica %s did not start", replica.replica_id)
                on_failure(replica, str(error))

    def _due(self, replicas: Collection[Replica], order: Sequence[ReplicaKind]) -> list[Replica]:
        now = self._clock()
        pending = [r for r in replicas if r.state is PENDING and r.wanted]
        due = [r for r in pending if plan_changes.may_start_at(r) <= now]
        serving = arranged([r for r in due if r.owner == SERVING], order)
        jobs = sorted((r for r in due if r.owner != SERVING), key=lambda r: r.created_at)
        return [*serving, *jobs]

    def _place(self, replica: Replica, usable: list[Device], reserved: set[str]) -> Placed:
        """Start one replica if its devices are free; else write what it waits for."""
        with self._uow() as work:
            live = [r for r in work.replicas.unfinished() if r.live]
            model = work.models.get(replica.kind.model)
        if model is None:
            raise EngineFailed(f"There is no model {replica.kind.model!r}.", "Register it again.")
        kind = replica.kind
        held = ledger.held_devices(live)
        staying = ledger.held_devices([r for r in live if r.wanted])
        full = [
            d for d in usable if d.device_id not in held and ledger.lacks_memory(kind, model, d)
        ]
        roomy = [d for d in usable if d not in full]
        free = [d for d in roomy if d.device_id not in held]
        leaving = [d for d in roomy if d.device_id in held - staying]
        spot = ledger.spot_now(kind, free, leaving, reserved)
        if spot is not None:
            self._start(replica, model, spot, live)
            return Placed.NOW
        why = ledger.waiting_text(kind, usable, held)
        why += "".join(ledger.memory_text(kind, model, d) for d in full if d.sku == kind.sku)
        self._wait(replica, why)
        return Placed.WHEN_FREE if ledger.choose(kind, roomy) else Placed.UNKNOWN

    def _start(
        self,
        replica: Replica,
        model: ModelSpec,
        spot: tuple[Device, ...],
        live: Collection[Replica],
    ) -> None:
        claim = self._claim(replica, spot, live)
        if claim is not None:
            process = self._launcher.start(claim, model, spot)
            facts = {
                "pid": process.pid,
                "process_started_at": process.process_started_at,
                "log_path": process.log_path,
            }
            move(self._uow, claim, [STARTING], STARTING, **facts)

    def _claim(
        self, replica: Replica, spot: Collection[Device], live: Collection[Replica]
    ) -> Replica | None:
        """Write devices and port before the process exists; None if the row has moved on.

        So no crash leaves a server that no row knows; its process id follows when it runs.
        """
        ports = {r.port for r in live if r.port is not None}
        claim = replace(
            replica,
            state=STARTING,
            device_ids=tuple(d.device_id for d in spot),
            port=free_port(replica.host, self._settings.replica_ports_from, ports),
            started_at=self._clock(),
            message="",
        )
        written = {
            "device_ids": claim.device_ids,
            "port": claim.port,
            "started_at": claim.started_at,
            "message": claim.message,
        }
        return claim if move(self._uow, replica, [PENDING], STARTING, **written) else None

    def _wait(self, replica: Replica, text: str) -> None:
        if text != replica.message:
            move(self._uow, replica, [PENDING], PENDING, message=text)
