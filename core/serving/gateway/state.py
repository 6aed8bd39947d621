"""What the gateway knows: active plan, ready replicas, newest classifier; in memory, never older
than about a second unless the database is away.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from statistics import fmean

from core.domain.cascade import CascadeKey
from core.domain.deployment import SERVING, Replica, ReplicaState
from core.domain.fleet import price_in_force
from core.domain.ids import utc_now
from core.domain.plan import ReplicaKind, ServingPlan
from core.domain.tenant import first_of_month
from core.errors import BOuteError
from core.ports import UnitOfWork, UnitOfWorkFactory
from core.routing.classifier import QueryClassifier
from core.routing.policy import Router
from core.routing.reading import read_classifier
from core.serving.gateway.access import Callers, callers_of
from core.serving.gateway.fixed import FixedFleet
from core.serving.gateway.speed import Speed, speed_of

log = logging.getLogger(__name__)

REFRESH_S = 1.0
SPEEDS_S = 30.0
"""Profiles and prices change seldom, and reading them takes a while."""


@dataclass(frozen=True)
class View:
    """One consistent reading of the database.

    Attributes:
        plan: Plan of the active deployment; None when nothing is deployed.
        router: Chooses a model by that plan; None without one.
        classifier_version: Version of the router's classifier; None without one.
        replicas: Ready replicas per model.
        speeds: How fast replica kinds are, and their price.
        quality: Lower bound of the quality per (model, query class).
        cascades: The same per cascade.
        callers: Who has a working key.
        month: First UTC day of the month that `spent_usd` adds up, ISO format.
        spent_usd: Cost of that month per tenant, as far as it was written.
    """

    plan: ServingPlan | None = None
    router: Router | None = None
    classifier_version: int | None = None
    replicas: Mapping[str, tuple[Replica, ...]] = field(default_factory=dict)
    speeds: Mapping[ReplicaKind, Speed] = field(default_factory=dict)
    quality: Mapping[tuple[str, str], float] = field(default_factory=dict)
    cascades: Mapping[CascadeKey, float] = field(default_factory=dict)
    callers: Callers = field(default_factory=dict)
    month: str = ""
    spent_usd: Mapping[str, float] = field(default_factory=dict)

    @cached_property
    def plan_id(self) -> str:
        """Identity of the active plan; empty without one."""
        return self.plan.plan_id if self.plan else ""

    @cached_property
    def models(self) -> tuple[str, ...]:
        """Models that can answer now, sorted."""
        return tuple(sorted(self.replicas))

    def why_not_ready(self) -> str | None:
        """Why no request can be answered; None when at least one model can."""
        if self.plan is None:
            return "No plan is active: deploy one on the dashboard's Optimise page."
        if not self.replicas:
            return "No replica of the active plan is ready yet."
        return None


class ViewKeeper:
    """Refreshes the view in a thread; keeps the last one while the database is away.

    Args:
        uow: Opens one transaction.
        every_s: Pause between refreshes, in seconds.
        fleet: Plan and replicas of a fleet that somebody else runs; None for the database's.
    """

    def __init__(
        self,
        uow: UnitOfWorkFactory,
        every_s: float = REFRESH_S,
        fleet: FixedFleet | None = None,
    ) -> None:
        self.view = View()
        self._fleet = fleet
        self._uow = uow
        self._every_s = every_s
        self._classifier: tuple[int | None, QueryClassifier | None] = (None, None)
        self._unusable: int | None = None
        self._read_at_s: float | None = None
        self._wake = asyncio.Event()
        self._begun = self._ended = 0
        self._reading_ended = asyncio.Event()
        self._speeds: Mapping[ReplicaKind, Speed] = {}
        self._speeds_until_s = 0.0
        self._followers: list[Callable[[], None]] = []

    def follow(self, changed: Callable[[], None]) -> None:
        """Have a function called after each reading."""
        self._followers.append(changed)

    @property
    def age_s(self) -> float:
        """Seconds since the database was last read; infinite when it never was."""
        return float("inf") if self._read_at_s is None else time.monotonic() - self._read_at_s

    def refresh_soon(self) -> None:
        """Read again now: a replica did not answer, so the view is probably out of date."""
        self._wake.set()

    async def newer(self, patience_s: float) -> None:
        """Wait for a reading that begins from now on; at most so long."""
        wanted = self._begun + 1
        self._wake.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                while self._ended < wanted:
                    await self._reading_ended.wait()

    async def run(self) -> None:
        """Refresh until cancelled."""
        failing = False
        while True:
            self._wake.clear()
            failing = not await self.refresh(quiet=failing)
            try:
                await asyncio.wait_for(self._wake.wait(), self._every_s)
            except TimeoutError:
                continue

    async def refresh(self, *, quiet: bool = False) -> bool:
        """Read the database once; False, with the old view kept, when that failed.

        Args:
            quiet: Do not log a failure (it was already logged).
        """
        self._begun += 1
        number = self._begun
        [found] = await asyncio.gather(asyncio.to_thread(self._read), return_exceptions=True)
        self._end_reading(number, found)
        if isinstance(found, BaseException):
            # Whatever went wrong, traffic goes on with what was known.
            if not quiet:
                log.error("the database cannot be read; keeping the last plan", exc_info=found)
            return False
        if quiet:
            log.info("the database answers again")
        return True

    def _end_reading(self, number: int, found: View | BaseException) -> None:
        if isinstance(found, View):
            self._note_change(found)
            self.view, self._read_at_s = found, time.monotonic()
            for changed in self._followers:
                changed()
        self._ended = max(self._ended, number)
        ended, self._reading_ended = self._reading_ended, asyncio.Event()
        ended.set()

    def _note_change(self, found: View) -> None:
        if found.plan_id != self.view.plan_id:
            log.info("routing by plan %s", found.plan_id or "(none)")

    def _read(self) -> View:
        with self._uow() as work:
            plan, replicas = self._served(work)
            version, classifier = self._newest_classifier(work)
            if plan == self.view.plan and version == self.view.classifier_version:
                # The router goes on, because it remembers how it has split each class so far.
                router = self.view.router
            else:
                router = Router(plan, classifier, _by_quality(work)) if plan else None
            month = first_of_month(utc_now())
            return View(
                plan=plan,
                router=router,
                classifier_version=version,
                replicas=replicas,
                speeds=self._known_speeds(
                    work, {r.kind for its in replicas.values() for r in its}
                ),
                quality={(e.model, e.query_class): e.lower for e in work.outcomes.estimates()},
                cascades={c.key: c.lower for c in work.outcomes.cascades()},
                callers=callers_of(work.tenants.all(), work.api_keys.all()),
                month=month,
                spent_usd=work.usage.cost_by_tenant(month),
            )

    def _served(
        self, work: UnitOfWork
    ) -> tuple[ServingPlan | None, dict[str, tuple[Replica, ...]]]:
        """Return the plan to follow and the replicas that are ready."""
        if self._fleet is not None:
            return self._fleet.plan, _by_model(self._fleet.replicas())
        ready, active = _ready(work), work.deployments.active()
        # Two reads are two moments: a switch in between would pair a plan with others' replicas.
        while (again := _ready(work)) != ready:
            ready, active = again, work.deployments.active()
        return active.plan if active else None, _by_model(ready)

    def _known_speeds(
        self, work: UnitOfWork, kinds: Collection[ReplicaKind]
    ) -> Mapping[ReplicaKind, Speed]:
        now_s = time.monotonic()
        if now_s >= self._speeds_until_s or not set(kinds) <= self._speeds.keys():
            self._speeds, self._speeds_until_s = _speeds(work, kinds), now_s + SPEEDS_S
        return self._speeds

    def _newest_classifier(self, work: UnitOfWork) -> tuple[int | None, QueryClassifier | None]:
        version = work.classifiers.latest_version()
        if version is not None and version not in (self._classifier[0], self._unusable):
            self._classifier = self._load(work) or self._classifier
        return self._classifier

    def _load(self, work: UnitOfWork) -> tuple[int, QueryClassifier] | None:
        newest = work.classifiers.latest()
        if newest is None:
            return None
        try:
            return newest[0], read_classifier(newest[1])
        except BOuteError as error:
            # The plan must still be followed, by the classifier that is known, if any.
            self._unusable = newest[0]
            log.error("classifier %d cannot be used: %s", newest[0], error)
            return None


def _ready(work: UnitOfWork) -> list[Replica]:
    return [
        replica
        for replica in work.replicas.unfinished()
        if replica.owner == SERVING and replica.state is ReplicaState.READY and replica.wanted
    ]


def _by_model(replicas: Iterable[Replica]) -> dict[str, tuple[Replica, ...]]:
    found: dict[str, tuple[Replica, ...]] = {}
    for replica in replicas:
        found[replica.kind.model] = (*found.get(replica.kind.model, ()), replica)
    return found


def _speeds(work: UnitOfWork, kinds: Collection[ReplicaKind]) -> dict[ReplicaKind, Speed]:
    profiles = {ReplicaKind(p.model, p.sku, p.tp, p.pp): p for p in work.profiles.latest()}
    slots = {model.name: model.max_num_seqs for model in work.models.all()}
    prices, now = work.prices.all(), utc_now()
    in_force = {kind: price_in_force(prices, kind.sku, now) for kind in kinds}
    return {
        kind: speed_of(
            kind, profiles.get(kind), slots.get(kind.model), price.usd_per_hour if price else None
        )
        for kind, price in in_force.items()
    }


def _by_quality(work: UnitOfWork) -> list[str]:
    """Models from best to worst by their mean over all classes."""
    scores: dict[str, list[float]] = {}
    for estimate in work.outcomes.estimates():
        scores.setdefault(estimate.model, []).append(estimate.mean)
    return sorted(scores, key=lambda model: (-fmean(scores[model]), model))
