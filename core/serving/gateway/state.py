"""What the gateway knows: active plan, ready replicas, newest classifier; in memory, never older
than about a second unless the database is away.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean

from core.domain.deployment import SERVING, Replica, ReplicaState
from core.domain.plan import ServingPlan
from core.errors import BOuteError
from core.ports import UnitOfWork, UnitOfWorkFactory
from core.routing.classifier import Classifier
from core.routing.policy import Router

log = logging.getLogger(__name__)

REFRESH_S = 1.0


@dataclass(frozen=True)
class View:
    """One consistent reading of the database.

    Attributes:
        plan: Plan of the active deployment; None when nothing is deployed.
        router: Chooses a model by that plan; None without one.
        classifier_version: Version of the router's classifier; None without one.
        replicas: Ready replicas per model.
    """

    plan: ServingPlan | None = None
    router: Router | None = None
    classifier_version: int | None = None
    replicas: Mapping[str, tuple[Replica, ...]] = field(default_factory=dict)

    @property
    def plan_id(self) -> str:
        """Identity of the active plan; empty without one."""
        return self.plan.plan_id if self.plan else ""

    @property
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
    """

    def __init__(self, uow: UnitOfWorkFactory, every_s: float = REFRESH_S) -> None:
        self.view = View()
        self._uow = uow
        self._every_s = every_s
        self._classifier: tuple[int | None, Classifier | None] = (None, None)
        self._unusable: int | None = None
        self._read_at_s: float | None = None
        self._wake = asyncio.Event()

    @property
    def age_s(self) -> float:
        """Seconds since the database was last read; infinite when it never was."""
        return float("inf") if self._read_at_s is None else time.monotonic() - self._read_at_s

    def refresh_soon(self) -> None:
        """Read again now: a replica did not answer, so the view is probably out of date."""
        self._wake.set()

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
        [found] = await asyncio.gather(asyncio.to_thread(self._read), return_exceptions=True)
        if isinstance(found, BaseException):
            # Whatever went wrong, traffic goes on with what was known.
            if not quiet:
                log.error("the database cannot be read; keeping the last plan", exc_info=found)
            return False
        if quiet:
            log.info("the database answers again")
        self._note_change(found)
        self.view, self._read_at_s = found, time.monotonic()
        return True

    def _note_change(self, found: View) -> None:
        if found.plan_id != self.view.plan_id:
            log.info("routing by plan %s", found.plan_id or "(none)")

    def _read(self) -> View:
        with self._uow() as work:
            active = work.deployments.active()
            plan = active.plan if active else None
            version, classifier = self._newest_classifier(work)
            replicas = _ready(work)
            if plan == self.view.plan and version == self.view.classifier_version:
                # The router goes on, because it remembers how it has split each class so far.
                return View(plan, self.view.router, version, replicas)
            router = Router(plan, classifier, _by_quality(work)) if plan else None
            return View(plan, router, version, replicas)

    def _newest_classifier(self, work: UnitOfWork) -> tuple[int | None, Classifier | None]:
        version = work.classifiers.latest_version()
        if version is not None and version not in (self._classifier[0], self._unusable):
            self._classifier = self._load(work) or self._classifier
        return self._classifier

    def _load(self, work: UnitOfWork) -> tuple[int, Classifier] | None:
        newest = work.classifiers.latest()
        if newest is None:
            return None
        try:
            return newest[0], Classifier.from_bytes(newest[1])
        except BOuteError as error:
            # The plan must still be followed, by the classifier that is known, if any.
            self._unusable = newest[0]
            log.error("classifier %d cannot be used: %s", newest[0], error)
            return None


def _ready(work: UnitOfWork) -> dict[str, tuple[Replica, ...]]:
    found: dict[str, tuple[Replica, ...]] = {}
    for replica in work.replicas.unfinished():
        if replica.owner == SERVING and replica.state is ReplicaState.READY and replica.wanted:
            found[replica.kind.model] = (*found.get(replica.kind.model, ()), replica)
    return found


def _by_quality(work: UnitOfWork) -> list[str]:
    """Models from best to worst by their mean over all classes."""
    scores: dict[str, list[float]] = {}
    for estimate in work.outcomes.estimates():
        scores.setdefault(estimate.model, []).append(estimate.mean)
    return sorted(scores, key=lambda model: (-fmean(scores[model]), model))
