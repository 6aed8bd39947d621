"""Removes old request records; what they add up to stays (see `UsageRepository`)."""

import asyncio
import logging
from datetime import timedelta

from core.domain.ids import utc_now
from core.ports import UnitOfWorkFactory

log = logging.getLogger(__name__)

EVERY_S = 3600.0
BATCH = 2_000
"""Per transaction, so that nobody waits long for the database."""


class Retention:
    """Prunes once an hour.

    Args:
        uow: Opens one transaction.
        days: Age at which records go.
    """

    def __init__(self, uow: UnitOfWorkFactory, days: int) -> None:
        self._uow = uow
        self._age = timedelta(days=days)

    async def run(self) -> None:
        """Prune until cancelled; a database that is away is asked again an hour later."""
        while True:
            [error] = await asyncio.gather(self.prune(), return_exceptions=True)
            if error is not None and not isinstance(error, int):
                log.warning("old request records cannot be removed: %s", error)
            await asyncio.sleep(EVERY_S)

    async def prune(self) -> int:
        """Remove what is too old, and return how many records that were."""
        removed = 0
        while True:
            number = await asyncio.to_thread(self._batch)
            removed += number
            if number < BATCH:
                return removed

    def _batch(self) -> int:
        with self._uow() as work:
            number = work.requests.prune(utc_now() - self._age, BATCH)
            work.commit()
        return number
