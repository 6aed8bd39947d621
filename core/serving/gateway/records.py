"""Request records on their way to the database: in memory first, written in batches."""

import asyncio
import logging
from collections import deque
from itertools import islice

from core.domain.traffic import RequestRecord
from core.ports import UnitOfWorkFactory

log = logging.getLogger(__name__)

BATCH = 200
EVERY_S = 0.5
CAPACITY = 50_000
LONGEST_PAUSE_S = 5.0
CLOSING_TRIES = 4


class RecordWriter:
    """A bounded queue of records and the task that writes them.

    A batch leaves the queue only once the database has it; writing one twice does no harm,
    because records already stored are left alone.

    Args:
        uow: Opens one transaction.
        capacity: Records kept while the database is away; later ones are counted and dropped.
        every_s: Longest time a record waits, in seconds, while the database answers.
    """

    def __init__(
        self, uow: UnitOfWorkFactory, capacity: int = CAPACITY, every_s: float = EVERY_S
    ) -> None:
        self.dropped = 0
        self._uow = uow
        self._capacity = capacity
        self._every_s = every_s
        self._waiting: deque[RequestRecord] = deque()
        self._enough = asyncio.Event()
        self._writing = asyncio.Lock()

    @property
    def pending(self) -> int:
        """Records not in the database yet."""
        return len(self._waiting)

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
        pause_s = self._every_s
        while True:
            await self._wait(pause_s)
            if await self.flush():
                pause_s = self._every_s
            else:
                pause_s = min(max(1.0, 2 * pause_s), LONGEST_PAUSE_S)

    async def flush(self) -> bool:
        """Write everything that waits, batch by batch; False when the database refused one."""
        async with self._writing:
            while batch := list(islice(self._waiting, BATCH)):
                [error] = await asyncio.gather(
                    asyncio.to_thread(self._write, batch), return_exceptions=True
                )
                if error is not None:
                    log.error("%d request records wait for the database", self.pending)
                    log.debug("because", exc_info=error)
                    return False
                for _ in batch:
                    self._waiting.popleft()
        return True

    async def close(self, timeout_s: float = 10.0) -> None:
        """Write what is left before the process ends; says how many records it had to give up."""
        try:
            async with asyncio.timeout(timeout_s):
                for _ in range(CLOSING_TRIES):
                    if await self.flush():
                        return
                    await asyncio.sleep(0.5)
        except TimeoutError:
            pass
        log.error("%d request records were lost: the database is away", self.pending)

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

    def _write(self, batch: list[RequestRecord]) -> None:
        with self._uow() as work:
            work.requests.add(batch)
            work.commit()
