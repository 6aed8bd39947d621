"""Records survive a database that is away."""

import asyncio
import contextlib
import logging
import os
from dataclasses import replace
from pathlib import Path

import pytest

from core.domain.ids import new_id, utc_now
from core.domain.traffic import RequestRecord
from core.errors import EnvironmentFailed
from core.ports import UnitOfWork, UnitOfWorkFactory
from core.serving.gateway.records import BATCH, RecordWriter
from core.serving.gateway.spool import Spool


class Outage:
    """A database that can be away: opening a transaction then fails."""

    def __init__(self, uow: UnitOfWorkFactory) -> None:
        self._uow = uow
        self.away = False

    def __call__(self) -> UnitOfWork:
        if self.away:
            raise EnvironmentFailed("The database does not answer.")
        return self._uow()


def record() -> RequestRecord:
    return RequestRecord(
        request_id=new_id(),
        at=utc_now(),
        requested_model="auto",
        query_class="easy",
        model="small",
        replica_id="r",
        plan_id="p",
        status=200,
        ttft_ms=1.0,
        e2e_ms=2.0,
        input_tokens=3,
        output_tokens=4,
    )


def stored(uow: UnitOfWorkFactory) -> set[str]:
    with uow() as work:
        return {r.request_id for r in work.requests.latest(10_000)}


async def test_batches_reach_the_database(sqlite_uow: UnitOfWorkFactory, tmp_path: Path) -> None:
    writer = RecordWriter(sqlite_uow, Spool(tmp_path))
    records = [record() for _ in range(2 * BATCH + 7)]
    for one in records:
        writer.put(one)
    assert await writer.flush()
    assert stored(sqlite_uow) == {r.request_id for r in records}
    assert writer.pending == 0


async def test_kept_and_written_later(
    sqlite_uow: UnitOfWorkFactory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = Outage(sqlite_uow)
    writer = RecordWriter(database, Spool(tmp_path / "spool"))
    database.away = True
    records = [record() for _ in range(3)]
    for one in records:
        writer.put(one)
    with caplog.at_level(logging.ERROR):
        assert not await writer.flush()
    assert "3 request records wait" in caplog.text
    assert (writer.pending, writer.spooled) == (3, 3)
    database.away = False
    assert await writer.flush()
    assert stored(sqlite_uow) == {r.request_id for r in records}
    assert (writer.pending, writer.spooled) == (0, 0)
    await writer.close()


async def test_a_full_queue_drops_and_counts(
    sqlite_uow: UnitOfWorkFactory, tmp_path: Path
) -> None:
    writer = RecordWriter(sqlite_uow, Spool(tmp_path), capacity=2)
    records = [record() for _ in range(5)]
    for one in records:
        writer.put(one)
    assert (writer.pending, writer.dropped) == (2, 3)
    await writer.flush()
    assert stored(sqlite_uow) == {r.request_id for r in records[:2]}


async def test_the_task_writes_by_itself(sqlite_uow: UnitOfWorkFactory, tmp_path: Path) -> None:
    writer = RecordWriter(sqlite_uow, Spool(tmp_path), every_s=0.01)
    task = asyncio.create_task(writer.run())
    one = record()
    writer.put(one)
    for _ in range(2000):
        if not writer.pending:
            break
        await asyncio.sleep(0.01)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert stored(sqlite_uow) == {one.request_id}


async def test_what_could_not_be_written_waits_for_the_next_gateway(
    sqlite_uow: UnitOfWorkFactory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = Outage(sqlite_uow)
    database.away = True
    spool = tmp_path / "spool"
    writer = RecordWriter(database, Spool(spool))
    first = replace(record(), prompt='a "quoted" line\nand é')
    writer.put(first)
    with caplog.at_level(logging.ERROR):
        await writer.close(timeout_s=0.1)
    assert "1 request records wait on disk" in caplog.text
    following = RecordWriter(sqlite_uow, Spool(spool), every_s=0.01)
    task = asyncio.create_task(following.run())
    for _ in range(2000):
        if stored(sqlite_uow):
            break
        await asyncio.sleep(0.01)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    with sqlite_uow() as work:
        assert work.requests.latest() == [first]
    await following.close()
    assert os.listdir(spool) == []  # noqa: PTH208


async def test_a_record_no_database_takes_holds_up_no_other(
    sqlite_uow: UnitOfWorkFactory, tmp_path: Path
) -> None:
    writer = RecordWriter(sqlite_uow, Spool(tmp_path))
    good = [record() for _ in range(5)]
    for one in (*good[:2], replace(record(), e2e_ms=float("inf")), *good[2:]):
        writer.put(one)
    assert await writer.flush()
    assert stored(sqlite_uow) == {r.request_id for r in good}
    assert (writer.pending, writer.dropped) == (0, 1)
