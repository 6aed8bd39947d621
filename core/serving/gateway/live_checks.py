"""A small share of live queries is also put to the best model, off the path of requests.

Both models are asked once more, at temperature 0, when a place in the queue is free; their answers
are compared and forgotten. What is stored is who agreed with whom, in which class.
"""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

import aiohttp

from core.domain.check import LiveCheck
from core.domain.ids import utc_now
from core.domain.quality import QualityEstimate
from core.ports import UnitOfWorkFactory
from core.profiling.client import ask, open_session
from core.serving.gateway.body import AUTO, Ask
from core.serving.gateway.state import ViewKeeper
from core.serving.gateway.trace import Trace

log = logging.getLogger(__name__)

CAPACITY = 100
MOST_TOKENS = 1024
KEPT = timedelta(days=90)
PRUNE_EVERY = 500

Agrees = Callable[[str, str, str], bool | None]
"""From a metric and two answers to whether they say the same; None where it cannot tell."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    text: str
    query_class: str
    model: str
    max_tokens: int


class LiveChecks:
    """A bounded queue of queries and the task that checks them.

    Args:
        keeper: Knows the ready replicas.
        uow: Opens one transaction.
        agrees: Compares two answers.
        share: Share (0..1) of the queries that are taken; 0 takes none.

    Attributes:
        dropped: Queries that found the queue full.
        failed: Queries that one of the models did not answer.
        stored: Checks written so far.
    """

    def __init__(
        self, keeper: ViewKeeper, uow: UnitOfWorkFactory, agrees: Agrees, share: float
    ) -> None:
        self.dropped = self.failed = self.stored = 0
        self._keeper = keeper
        self._uow = uow
        self._agrees = agrees
        self._share = share
        self._queue: deque[_Waiting] = deque()
        self._some = asyncio.Event()

    def offer(self, ask: Ask, trace: Trace) -> None:
        """Take a query that was routed, or let it go by; never blocks.

        Only single questions with `model` set to `auto` are taken: what a model says in a
        conversation, or with tools, two fresh answers say little about.
        """
        if random.random() >= self._share or not _checkable(ask, trace):
            return
        if len(self._queue) >= CAPACITY:
            self.dropped += 1
            return
        most = min(ask.most_tokens or MOST_TOKENS, MOST_TOKENS)
        self._queue.append(_Waiting(ask.text or "", trace.query_class, trace.model, most))
        self._some.set()

    async def run(self) -> None:
        """Check until cancelled."""
        async with open_session() as session:
            while True:
                await self._some.wait()
                while self._queue:
                    await self._check_safely(session, self._queue.popleft())
                self._some.clear()

    async def _check_safely(self, session: aiohttp.ClientSession, its: _Waiting) -> None:
        """A check that fails must not end those behind it: the database may be away."""
        [error] = await asyncio.gather(self._check(session, its), return_exceptions=True)
        if isinstance(error, BaseException):
            self.failed += 1
            log.debug("a live query could not be checked", exc_info=error)

    async def _check(self, session: aiohttp.ClientSession, its: _Waiting) -> None:
        known = await asyncio.to_thread(self._estimates, its.query_class)
        best = self._best(known)
        if best is None or best == its.model or its.model not in known:
            return
        answers = [await self._answer(session, model, its) for model in (its.model, best)]
        if None in answers:
            self.failed += 1
            return
        metric = known[its.model].metric
        agrees = self._agrees(metric, *(answer or "" for answer in answers))
        if agrees is not None:
            check = LiveCheck(utc_now(), its.query_class, its.model, best, metric, agrees)
            await asyncio.to_thread(self._store, check)

    def _estimates(self, query_class: str) -> dict[str, QualityEstimate]:
        with self._uow() as work:
            known = work.outcomes.estimates()
        return {its.model: its for its in known if its.query_class == query_class}

    def _best(self, known: Mapping[str, QualityEstimate]) -> str | None:
        ready = [model for model in known if model in self._keeper.view.replicas]
        return max(ready, key=lambda model: (known[model].mean, model), default=None)

    async def _answer(
        self, session: aiohttp.ClientSession, model: str, its: _Waiting
    ) -> str | None:
        replicas = self._keeper.view.replicas.get(model)
        if not replicas:
            return None
        replica = random.choice(replicas)
        answer = await ask(session, replica.base_url, model, its.text, its.max_tokens)
        return None if answer.error else answer.text

    def _store(self, check: LiveCheck) -> None:
        with self._uow() as work:
            work.checks.add_live([check])
            if self.stored % PRUNE_EVERY == 0:
                work.checks.prune_live(check.at - KEPT)
            work.commit()
        self.stored += 1


def _checkable(ask: Ask, trace: Trace) -> bool:
    messages = ask.payload.get("messages")
    single = isinstance(messages, list) and len(messages) == 1
    plain = ask.model == AUTO and not trace.escalate_to and bool(trace.query_class)
    return plain and single and bool(ask.text) and not ask.payload.get("tools")
