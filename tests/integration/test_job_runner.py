"""Jobs as the controller runs them: real DBOS workflows, real child processes, real databases."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from core.domain.catalog import ModelSpec
from core.domain.deployment import Replica, ReplicaState, job_owner
from core.domain.fleet import Device, DeviceKind
from core.domain.ids import new_id, utc_now
from core.domain.job import Job, JobKind, JobState
from core.domain.quality import Query, QuerySet
from core.ports import UnitOfWorkFactory
from core.services import jobs, profiles, quality
from core.settings import Settings
from db.migrate import upgrade
from db.unit_of_work import disconnect, uow_factory

RUNNER = """
import sys, threading
from core.entrypoints.job_runner import JobRunner
from core.settings import load_settings
from db.unit_of_work import disconnect, uow_factory
settings = load_settings()
runner = JobRunner(uow_factory(settings.database_url), settings)
runner.launch()
while True:
    runner.tick()
    threading.Event().wait(0.2)
"""


@pytest.fixture(params=["sqlite", "postgres"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    url = f"sqlite:///{tmp_path / 'boute.db'}"
    if request.param == "postgres":
        url = request.getfixturevalue("empty_postgres_url")
    upgrade(url)
    return Settings(home=tmp_path, database_url=url)


@pytest.fixture
def uow(settings: Settings) -> Iterator[UnitOfWorkFactory]:
    yield uow_factory(settings.database_url)
    disconnect(settings.database_url)


@pytest.fixture
def start_runner(settings: Settings) -> Iterator[Callable[[], "subprocess.Popen[bytes]"]]:
    started: list[subprocess.Popen[bytes]] = []

    def start() -> "subprocess.Popen[bytes]":
        environment = {**os.environ, **settings.environment}
        started.append(subprocess.Popen([sys.executable, "-c", RUNNER], env=environment))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_for(
    uow: UnitOfWorkFactory, job: Job, reached: Callable[[Job], bool], timeout_s: float = 90
) -> Job:
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        now = jobs.get(uow, job.job_id)
        if reached(now):
            return now
        time.sleep(0.1)
    raise AssertionError(f"stuck at {jobs.get(uow, job.job_id)}")


def over(job: Job) -> bool:
    return not job.active


def add_fleet(uow: UnitOfWorkFactory) -> None:
    device = Device("n/cpu/0", "n", 0, "cpu-core", DeviceKind.CPU, 2**33, 0, None, None, utc_now())
    model = ModelSpec("m", "somewhere/m", 0, 0, 128, 4, utc_now())
    with uow() as work:
        work.devices.upsert([device])
        work.models.save(model)
        work.commit()
    quality.save_query_set(uow, QuerySet("q", "numeric", 16, (Query("1+1", "easy", "2"),)))


def test_a_failure_has_a_hint_and_ends_its_group(
    uow: UnitOfWorkFactory, start_runner: Callable[[], object]
) -> None:
    group = new_id()
    first = quality.request_classifier(uow, utc_now(), group)
    second = jobs.enqueue(uow, JobKind.CLASSIFIER, "After it", {}, utc_now(), group)
    unrelated = jobs.enqueue(uow, JobKind.CLASSIFIER, "Unrelated", {}, utc_now())
    start_runner()
    failed = wait_for(uow, first, over)
    assert failed.state is JobState.FAILED
    assert failed.message
    assert failed.hint
    assert wait_for(uow, second, over).state is JobState.CANCELLED
    assert first.title in jobs.get(uow, second.job_id).message
    assert wait_for(uow, unrelated, over).state is JobState.FAILED


def test_cancelling_a_running_job_frees_its_replicas(
    uow: UnitOfWorkFactory, start_runner: Callable[[], object]
) -> None:
    add_fleet(uow)
    job = profiles.request_profile(uow, "m", "cpu-core", utc_now(), query_set="q")
    start_runner()
    wait_for(uow, job, lambda _: bool(replicas_of(uow, job)))
    jobs.cancel(uow, job.job_id)
    assert wait_for(uow, job, over).state is JobState.CANCELLED
    assert [r.wanted for r in replicas_of(uow, job)] == [False]


def test_a_killed_controller_resumes_its_job(
    uow: UnitOfWorkFactory, start_runner: Callable[[], "subprocess.Popen[bytes]"]
) -> None:
    add_fleet(uow)
    job = profiles.request_profile(uow, "m", "cpu-core", utc_now(), query_set="q")
    first = start_runner()
    wait_for(uow, job, lambda _: bool(replicas_of(uow, job)))
    children = psutil.Process(first.pid).children()
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive, "the step of a dead controller must end itself"
    with uow() as work:
        [replica] = work.replicas.by_owner(job_owner(job.job_id))
        work.replicas.transition(replica.replica_id, [ReplicaState.PENDING], ReplicaState.FAILED)
        work.commit()
    start_runner()
    wait_for(uow, job, lambda _: len(replicas_of(uow, job)) == 2)
    assert jobs.get(uow, job.job_id).state is JobState.RUNNING


def replicas_of(uow: UnitOfWorkFactory, job: Job) -> list[Replica]:
    with uow() as work:
        return list(work.replicas.by_owner(job_owner(job.job_id)))
