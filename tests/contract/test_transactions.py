"""Transactions: nothing without commit, one winner in a race, errors in words."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.orm import sessionmaker

from core.domain.deployment import ReplicaState
from core.domain.job import JobState
from core.errors import BOuteError, EnvironmentFailed, InvalidInput
from core.ports import UnitOfWork, UnitOfWorkFactory
from core.settings import REPOSITORY
from db.engine import make_engine
from db.unit_of_work import SqlUnitOfWork, disconnect, uow_factory
from tests.contract import samples


def test_leaving_without_commit_undoes_everything(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as work:
        work.jobs.add(samples.job("kept"))
        work.commit()
        work.jobs.add(samples.job("lost"))
        work.jobs.request_cancel("kept")
        work.devices.upsert([samples.device()])
        work.classifiers.add(b"x", {}, samples.NOW)
    with any_uow() as work:
        assert work.jobs.all() == [samples.job("kept")]
        assert work.devices.all() == []
        assert work.classifiers.latest_version() is None


def test_an_exception_undoes_everything_and_passes_on(any_uow: UnitOfWorkFactory) -> None:
    with pytest.raises(KeyError), any_uow() as work:
        add_then(work, KeyError("broke"))
    with any_uow() as work:
        assert work.jobs.all() == []


def add_then(work: UnitOfWork, error: Exception) -> None:
    work.jobs.add(samples.job())
    raise error


def test_nobody_sees_what_is_not_committed(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as writer, any_uow() as reader:
        writer.jobs.add(samples.job())
        assert writer.jobs.all() == [samples.job()]
        assert reader.jobs.all() == []
        writer.commit()
        assert reader.jobs.all() == [samples.job()]


def test_an_open_reader_does_not_keep_a_writer_waiting(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as reader:
        reader.jobs.all()
        with any_uow() as writer:
            writer.jobs.add(samples.job())
            writer.commit()


def test_a_reader_may_write_after_somebody_else_wrote(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as late:
        late.jobs.all()
        with any_uow() as early:
            early.jobs.add(samples.job("early"))
            early.commit()
        late.jobs.add(samples.job("late"))
        late.commit()
    with any_uow() as work:
        assert [job.job_id for job in work.jobs.all()] == ["late", "early"]


def race(threads: int, attempt: Callable[[int], bool]) -> list[int]:
    """Let threads do the same thing at the same time; return who succeeded."""
    barrier = threading.Barrier(threads)
    winners: list[int] = []

    def run(number: int) -> None:
        barrier.wait()
        if attempt(number):
            winners.append(number)

    running = [threading.Thread(target=run, args=[number]) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return winners


@pytest.mark.parametrize("round_", range(5))
def test_exactly_one_thread_claims_a_job(any_uow: UnitOfWorkFactory, round_: int) -> None:
    with any_uow() as work:
        work.jobs.add(samples.job())
        work.commit()

    def claim(number: int) -> bool:
        with any_uow() as work:
            work.jobs.get("j1")
            claimed = work.jobs.transition(
                "j1", [JobState.QUEUED], JobState.RUNNING, {"message": str(number)}
            )
            work.commit()
        return claimed

    [winner] = race(4, claim)
    with any_uow() as work:
        found = work.jobs.get("j1")
        assert found is not None
        assert found.message == str(winner)


def test_exactly_one_thread_takes_a_replica_over(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as work:
        work.replicas.add(samples.replica(state=ReplicaState.READY))
        work.commit()

    def take(number: int) -> bool:
        with any_uow() as work:
            taken = work.replicas.change_owner("r1", "job:j1", f"job:{number}")
            work.commit()
        return taken

    [winner] = race(4, take)
    with any_uow() as work:
        assert [replica.replica_id for replica in work.replicas.by_owner(f"job:{winner}")] == [
            "r1"
        ]


def test_classifiers_of_two_threads_get_two_numbers(any_uow: UnitOfWorkFactory) -> None:
    versions: list[int] = []

    def add(number: int) -> bool:
        with any_uow() as work:
            work.classifiers.latest_version()
            versions.append(work.classifiers.add(b"x", {}, samples.NOW))
            work.commit()
        return True

    race(3, add)
    assert sorted(versions) == [1, 2, 3]


def test_overlapping_batches_of_requests_are_stored_once(any_uow: UnitOfWorkFactory) -> None:
    batch = [samples.request(str(number), number) for number in range(20)]

    def add(number: int) -> bool:
        with any_uow() as work:
            work.requests.add(batch[number * 4 :])
            work.commit()
        return True

    assert len(race(3, add)) == 3
    with any_uow() as work:
        assert work.requests.latest() == batch[::-1]


def python(*arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True
    )


def finish(processes: "list[subprocess.Popen[str]]") -> None:
    complaints = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), complaints


def test_processes_write_to_sqlite_side_by_side(
    sqlite_url: str, sqlite_uow: UnitOfWorkFactory
) -> None:
    names, times = ["a", "b", "c"], 25
    with sqlite_uow() as work:
        for name in names:
            work.jobs.add(samples.job(name, state=JobState.RUNNING))
        work.commit()
    writer = "tests.contract.busy_writer"
    finish([python("-m", writer, sqlite_url, name, str(times)) for name in names])
    with sqlite_uow() as work:
        assert len(work.requests.latest(10**6)) == times * len(names)
        assert {job.progress for job in work.jobs.all()} == {1.0}


def test_one_engine_per_database_and_process(sqlite_url: str) -> None:
    engines = {
        id(uow_factory(sqlite_url).args[0].kw["bind"])  # type: ignore[attr-defined]
        for _ in range(3)
    }
    assert len(engines) == 1


def use(url: str) -> None:
    """Read and write once."""
    try:
        with uow_factory(url)() as work:
            work.jobs.all()
            work.jobs.add(samples.job())
    finally:
        disconnect(url)


def test_a_database_without_tables_says_what_to_do(
    tmp_path: Path, empty_postgres_url: str
) -> None:
    for url in (f"sqlite:///{tmp_path / 'new' / 'x.db'}", empty_postgres_url):
        with pytest.raises(EnvironmentFailed) as told:
            use(url)
        assert "boute migrate" in told.value.hint


@pytest.mark.parametrize(
    "url", ["postgresql://nobody@127.0.0.1:1/x", "postgresql:///x?host=/nowhere"]
)
def test_a_server_that_is_away_says_so(url: str) -> None:
    with pytest.raises(EnvironmentFailed) as told:
        use(url)
    assert "does not answer" in told.value.message
    assert "BOUTE_DATABASE_URL" in told.value.hint


def test_a_file_that_is_no_database_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_text("Dear diary, " * 1000)
    with pytest.raises(EnvironmentFailed, match="not a BOute database"):
        use(f"sqlite:///{path}")
    with pytest.raises(EnvironmentFailed, match="cannot be opened"):
        use(f"sqlite:///{tmp_path}")


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFailed, match="cannot be made"):
        make_engine(f"sqlite:///{tmp_path / 'file' / 'x.db'}")


@pytest.mark.parametrize(
    "url", ["not a url", "mysql://root@localhost/x", "postgresql://u@h:port/x", ""]
)
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        make_engine(url)


def test_a_full_disk_says_so_and_loses_nothing(sqlite_url: str) -> None:
    engine = make_engine(sqlite_url)
    # SQLite answers as on a full disk once a file may have no more pages.
    event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA max_page_count = 60"))
    factory = sessionmaker(engine)
    with SqlUnitOfWork(factory) as work:
        work.jobs.add(samples.job())
        work.commit()
    with pytest.raises(EnvironmentFailed, match="full"), SqlUnitOfWork(factory) as work:
        work.classifiers.add(b"x" * 10**6, {}, samples.NOW)
    with SqlUnitOfWork(factory) as work:
        assert work.jobs.all() == [samples.job()]
    engine.dispose()


def test_a_database_that_may_only_be_read_says_so(sqlite_url: str) -> None:
    path = sqlite_url.removeprefix("sqlite:///")
    with pytest.raises(BOuteError, match="only be read"):
        use(f"sqlite:///file:{path}?mode=ro&uri=true")
