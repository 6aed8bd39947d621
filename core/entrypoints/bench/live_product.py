"""BOute itself as a benchmark's subject: supervised controller and gateway on a home of their own.

Two kinds of fleet: `STUB`, made-up devices whose servers are `engine_stub` processes, and `CORES`,
this machine's CPU cores with real vLLM replicas of the built-in models.
"""

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import psutil

from core.demo.first_start import MAX_MODEL_LEN, WEIGHTS
from core.domain.catalog import ModelSpec
from core.domain.deployment import (
    LIVE_STATES,
    Deployment,
    DeploymentState,
    Replica,
    ReplicaState,
)
from core.domain.fleet import Price
from core.domain.ids import utc_now
from core.domain.plan import ReplicaKind, ServingPlan, make_plan
from core.entrypoints.bench import stub_fleet
from core.entrypoints.bench.gateway_subjects import free_ports
from core.entrypoints.supervised import supervised
from core.entrypoints.supervisor import Supervisor, answers
from core.entrypoints.up import product_programs
from core.entrypoints.waiting import require_controller, say
from core.errors import EngineFailed, EnvironmentFailed
from core.ports import UnitOfWorkFactory
from core.routing.classifier import train
from core.services import deployments
from core.serving.command_line import MARKER
from core.serving.probe_cpu import SKU
from core.settings import Settings
from db.migrate import upgrade
from db.unit_of_work import uow_factory

MODELS = ("small", "large")
PRICE_USD_PER_HOUR = 0.04
START_S = 300.0
SETTLE_S = 1200.0
REPLICA_START_S = 900.0
POLL_S = 0.2


@dataclass(frozen=True)
class Fleet:
    """What the controller places replicas on.

    Attributes:
        sku: Of every device.
        devices: How many there are; 0 takes the machine's own.
        tokens: Length of an answer.
        max_num_seqs: Batch size of a replica.
    """

    sku: str
    devices: int
    tokens: int
    max_num_seqs: int

    @property
    def stub(self) -> bool:
        """Whether its servers are stubs."""
        return self.sku == stub_fleet.SKU

    def kind(self, model: str, tp: int = 1) -> ReplicaKind:
        """Return a replica kind on it."""
        return ReplicaKind(model, self.sku, tp)

    def plan(self, small: int, large: int, large_tp2: int = 0) -> ServingPlan:
        """Return a plan with so many replicas; a class leans on one model, the other helps."""
        counts = {self.kind("small"): small, self.kind("large"): large}
        counts |= {self.kind("large", 2): large_tp2}
        running = {"small": bool(small), "large": bool(large or large_tp2)}
        shares = {"easy": {"small": 0.9, "large": 0.1}, "hard": {"small": 0.1, "large": 0.9}}
        routing = {
            name: {
                model: share if all(running.values()) else 1.0
                for model, share in its.items()
                if running[model]
            }
            for name, its in shares.items()
        }
        return make_plan(counts, routing)


STUB = Fleet(stub_fleet.SKU, devices=4, tokens=stub_fleet.TOKENS, max_num_seqs=64)
CORES = Fleet(SKU, devices=0, tokens=24, max_num_seqs=4)


@dataclass(frozen=True)
class Product:
    """A running BOute.

    Attributes:
        settings: Its addresses and folders.
        supervisor: Watches controller and gateway.
    """

    fleet: Fleet
    settings: Settings
    supervisor: Supervisor

    @property
    def uow(self) -> UnitOfWorkFactory:
        """Opens a transaction on its database."""
        return uow_factory(self.settings.database_url)

    def state(self) -> tuple[Deployment | None, list[Replica]]:
        """Return the desired deployment and the replicas that are not over."""
        with self.uow() as work:
            return work.deployments.current(), work.replicas.unfinished()

    def settled(self) -> bool:
        """Whether exactly the desired plan runs, all of it ready."""
        desired, replicas = self.state()
        if desired is None or desired.state is not DeploymentState.ACTIVE:
            return False
        wanted = Counter({p.kind: p.count for p in desired.plan.placement})
        ready = [r for r in replicas if r.state is ReplicaState.READY and r.wanted]
        return len(ready) == len(replicas) and Counter(r.kind for r in ready) == wanted

    def wait_until_up(self) -> None:
        """Wait until the gateway answers and a controller looks after the fleet, from now on.

        Raises:
            EngineFailed: They do not come up.
        """
        began, deadline_s = utc_now(), time.monotonic() + START_S
        url = f"http://127.0.0.1:{self.settings.gateway_port}/ready"
        while not (self._looked_after(began) and answers(url)):
            if time.monotonic() > deadline_s:
                raise EngineFailed("Controller or gateway do not come up.")
            time.sleep(POLL_S)

    def wait_until_over(self, replica_ids: Collection[str]) -> None:
        """Wait until it was noticed that these replicas are dead.

        Raises:
            EngineFailed: It is not.
        """
        deadline_s = time.monotonic() + START_S
        while self._any_of(replica_ids):
            if time.monotonic() > deadline_s:
                raise EngineFailed(f"A killed replica counts as alive: {self._in_words()}")
            time.sleep(POLL_S)

    def _any_of(self, replica_ids: Collection[str]) -> bool:
        with contextlib.suppress(EnvironmentFailed):
            return any(r.replica_id in replica_ids for r in self.state()[1])
        return True

    def _looked_after(self, since: datetime) -> bool:
        with contextlib.suppress(EnvironmentFailed), self.uow() as work:
            return any(device.seen_at > since for device in work.devices.all())
        return False

    def wait_until_settled(self, failing: Callable[[], None] = lambda: None) -> float:
        """Return after how many seconds the desired plan runs.

        Args:
            failing: Called now and then; raises what it finds wrong.

        Raises:
            EngineFailed: It does not come to that.
        """
        began_s = time.monotonic()
        while time.monotonic() - began_s < SETTLE_S:
            with contextlib.suppress(EnvironmentFailed):  # the database may be on its way up
                if self.settled():
                    return time.monotonic() - began_s
            failing()
            time.sleep(POLL_S)
        raise EngineFailed(f"Not settled after {SETTLE_S:.0f} s: {self._in_words()}")

    def _in_words(self) -> str:
        desired, replicas = self.state()
        found = [f"{r.kind.label} {r.state.value} {r.message[:200]}" for r in replicas]
        state = f"{desired.state.value} {desired.message[:300]}" if desired else "nothing desired"
        return f"{state}; {found}"


def double_booked(replicas: list[Replica]) -> list[str]:
    """Return devices that more than one live replica holds."""
    held = Counter(i for r in replicas if r.state in LIVE_STATES for i in r.device_ids)
    return sorted(device for device, count in held.items() if count > 1)


def orphans(product: Product) -> list[str]:
    """Return server processes of the product's home that no live replica accounts for."""
    with product.uow() as work:
        live = {r.replica_id for r in work.replicas.unfinished() if r.live}
    logs = product.settings.logs / "replicas"
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            output = Path(f"/proc/{process.pid}/fd/1").readlink()
            name = process.environ().get(MARKER) or output.stem
            zombie = process.status() == psutil.STATUS_ZOMBIE
            if output.parent == logs and name not in live and not zombie:
                found.append(f"{process.pid} {process.name()} of {name}")
    return found


@contextlib.contextmanager
def running(fleet: Fleet, home: Path, database_url: str | None = None) -> Iterator[Product]:
    """Run controller and gateway while the block runs; leave nothing.

    Raises:
        EngineFailed: They do not come up.
    """
    gateway_port, first_port = free_ports(2)
    settings = Settings(
        home=home,
        database_url=database_url or f"sqlite:///{home / 'boute.db'}",
        gateway_port=gateway_port,
        replica_start_timeout_s=REPLICA_START_S,
        replica_ports_from=min(first_port, 60_000),
    )
    settings.logs.mkdir(parents=True)
    upgrade(settings.database_url)
    programs = [p for p in product_programs(settings) if p.name != "dashboard"]
    if fleet.stub:
        command = (sys.executable, "-m", "core.entrypoints.bench.stub_fleet", str(fleet.devices))
        programs = [replace(p, command=command) if p.name == "controller" else p for p in programs]
    supervisor = Supervisor(programs, home, settings.logs, settings.environment, say)
    product = Product(fleet, settings, supervisor)
    with supervised(supervisor):
        _wait_until_up(product)
        seed(product)
        yield product


def _wait_until_up(product: Product) -> None:
    require_controller(product.uow, START_S)
    _wait_for_answer(product, "/health")


def _wait_for_answer(product: Product, path: str) -> None:
    url = f"http://127.0.0.1:{product.settings.gateway_port}{path}"
    deadline_s = time.monotonic() + START_S
    while not answers(url):
        if time.monotonic() > deadline_s:
            raise EngineFailed(f"The gateway does not answer {path}.")
        time.sleep(POLL_S)


def deploy_first(product: Product, plan: ServingPlan) -> None:
    """Deploy a plan and wait until the gateway routes by it."""
    deployments.deploy_plan(product.uow, plan, utc_now())
    product.wait_until_settled()
    _wait_for_answer(product, "/ready")


def seed(product: Product) -> None:
    """Register the models, a price, and a classifier that tells easy from hard queries."""
    fleet, now = product.fleet, utc_now()
    texts = [f"What is {n} + {n % 7}?" for n in range(60)]
    texts += [f"Prove step {n} of the theorem and tell why it holds." for n in range(60)]
    classifier, facts = train(texts, ["easy"] * 60 + ["hard"] * 60, seed=0)
    with product.uow() as work:
        for name in MODELS:
            path = str(WEIGHTS / name)
            limits = (MAX_MODEL_LEN, fleet.max_num_seqs)
            work.models.save(ModelSpec(name, path, 10**6, 1000, *limits, now))
        work.prices.add(Price(fleet.sku, PRICE_USD_PER_HOUR, now))
        work.classifiers.add(classifier.to_bytes(), facts, now)
        work.commit()
