"""Request records on their way to the database: in memory first, written in batches."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from itertools import islice

from core.domain.traffic import RequestRecord
from core.errors import Conflict
from core.ports import UnitOfWorkFactory
from core.serving.gateway.spool import Spool

log = logging.getLogger(__name__)

BATCH = 200
EVERY_S = 0.5
CAPACITY = 50_000
LONGEST_PAUSE_S = 5.0
CLOSING_TRIES = 4

# Of the records, not of the database: it will never take them.
REFUSED = (ValueError, TypeError, Conflict)


class RecordWriter:
    """A bounded queue of records and the task that writes them.

    A batch leaves the queue only once the database has it, or the disk while the database is
    away; writing one twice does no harm, because records already stored are left alone. A record
    that the database never takes is dropped and counted, so that it holds up no other.

    Args:
        uow: Opens one transaction.
        spool: Keeps records while the database is away.
        capacity: Records kept in memory; later ones are counted and dropped.
        every_s: Longest time a record waits, in seconds, while the database answers.
    """

    def __init__(
        self,
        uow: UnitOfWorkFactory,
        spool: Spool,
        capacity: int = CAPACITY,
        every_s: float = EVERY_S,
    ) -> None:
        self.dropped = 0
        self._uow = uow
        self._spool = spool
        self._capacity = capacity
        self._every_s = every_s
        self._waiting: deque[RequestRecord] = deque()
        self._enough = asyncio.Event()
        self._writing = asyncio.Lock()

    @property
    def pending(self) -> int:
        """Records not in the database yet."""
        return len(self._waiting) + self._spool.records

    @property
    def spooled(self) -> int:
        """Of these, records on disk."""
        return self._spool.records

    def put(self, record: RequestRecord) -> None:
        """Queue a record; never blocks."""
        if len(self._waiting) >= self._capacity:
            self.dropped += 1
            return
        self._waiting.append(record)
        if len(self._waiting) >= BATCH:
            self._enough.set()

    async def run(self) -> None:
        """Write until cancelled; pauses grow while the database is away."""
        await self._adopt()
        pause_s = self._every_s
        while True:
            await self._wait(pause_s)
            if await self.flush():
                pause_s = self._every_s
            else:
                pause_s = min(max(1.0, 2 * pause_s), LONGEST_PAUSE_S)

    async def flush(self) -> bool:
        """Write everything that waits; False when the database is away and the disk has it."""
        async with self._writing:
            while batch := list(islice(self._waiting, BATCH)):
                if not await self._in_thread(self._store, batch):
                    await self._to_disk()
                    return False
                self._forget(len(batch))
            return not self._spool.records or await self._in_thread(self._replay)

    async def close(self, timeout_s: float = 10.0) -> None:
        """Write what is left before the process ends; the disk keeps it for the next one."""
        try:
            async with asyncio.timeout(timeout_s):
                for _ in range(CLOSING_TRIES):
                    if await self.flush():
                        break
                    await asyncio.sleep(0.5)
        except TimeoutError:
            log.warning("the database does not take the last request records")
        async with self._writing:
            await self._to_disk()
        if self.pending:
            log.error(
                "%d request records wait on disk for the next gateway, %d were lost",
                self._spool.records,
                len(self._waiting),
            )
        self._spool.close()

    async def _adopt(self) -> None:
        try:
            await asyncio.to_thread(self._spool.adopt)
        except OSError:
            log.exception("records of an earlier gateway cannot be read")

    async def _to_disk(self) -> None:
        """Move what waits to the disk; what does not fit stays in memory."""
        batch = list(self._waiting)
        if not batch:
            return
        try:
            stored = await asyncio.to_thread(self._spool.append, batch)
        except OSError:
            log.exception("%d request records wait for the database, in memory only", len(batch))
            return
        self._forget(stored)
        log.error("%d request records wait for the database", self.pending)

    async def _in_thread(
        self, write: Callable[..., None], *arguments: list[RequestRecord]
    ) -> bool:
        """Write in a thread; False when the database is away, in whatever way it says so."""
        [error] = await asyncio.gather(
            asyncio.to_thread(write, *arguments), return_exceptions=True
        )
        if error is not None:
            log.debug("the database does not take records", exc_info=error)
        return error is None

    def _forget(self, number: int) -> None:
        for _ in range(number):
            self._waiting.popleft()

    async def _wait(self, pause_s: float) -> None:
        """Wait for a full batch or for the pause; a failing database always gets its pause."""
        if pause_s > self._every_s:
            await asyncio.sleep(pause_s)
            return
        self._enough.clear()
        try:
            await asyncio.wait_for(self._enough.wait(), pause_s)
        except TimeoutError:
            return

    def _replay(self) -> None:
        for batch in self._spool.batches():
            self._store(batch)
        self._spool.clear()

    def _store(self, batch: list[RequestRecord]) -> None:
        try:
            self._write(batch)
        except REFUSED as error:
            if len(batch) == 1:
                self.dropped += 1
                log.error("a request record was refused: %s", error)
                return
            half = len(batch) // 2
            self._store(batch[:half])
            self._store(batch[half:])

    def _write(self, batch: list[RequestRecord]) -> None:
        with self._uow() as work:
            work.requests.add(batch)
            work.commit()
