"""Runs jobs as durable DBOS workflows: one workflow per job, one step per step, one at a time.

A finished step is recorded and never repeated; a controller that dies in the middle resumes at the
step it was in. The work itself happens in child processes, so cancelling really stops it.
"""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, SetWorkflowID

from core.domain.deployment import job_owner
from core.domain.ids import utc_now
from core.domain.job import ACTIVE_JOB_STATES, Job, JobState
from core.entrypoints.job_bodies import body_of
from core.errors import EnvironmentFailed
from core.ports import UnitOfWork, UnitOfWorkFactory
from core.settings import Settings

log = logging.getLogger(__name__)

QUEUE = "jobs"
TERM_WAIT_S = 10.0
POLL_S = 0.3
LOG_TAIL_CHARS = 600
REPORT_HINT = "The traceback is in the controller's log; please report it."


class JobRunner:
    """Takes queued jobs from the database and sees them through. One per controller."""

    def __init__(self, uow: UnitOfWorkFactory, settings: Settings) -> None:
        self._uow = uow
        self._settings = settings
        self._handed_over: set[str] = set()
        self._children: set[subprocess.Popen[bytes]] = set()
        self._closing = False
        DBOS(config=_dbos_config(settings))
        self._workflow = self._register()

    def launch(self) -> None:
        """Connect to the workflow database and resume what a dead controller left."""
        DBOS.launch()
        DBOS.register_queue(QUEUE, concurrency=1, polling_interval_sec=0.5)

    def tick(self) -> None:
        """Hand jobs that wait to the durable queue."""
        with self._uow() as work:
            waiting = [j for j in work.jobs.active() if j.job_id not in self._handed_over]
        for job in waiting:
            if DBOS.get_workflow_status(job.job_id) is None:
                with SetWorkflowID(job.job_id):
                    DBOS.enqueue_workflow(QUEUE, self._workflow, job.job_id)
            self._handed_over.add(job.job_id)

    def close(self) -> None:
        """Stop children; their workflows stay pending and resume with the next controller."""
        self._closing = True
        for child in list(self._children):
            _end(child)
        DBOS.destroy(workflow_completion_timeout_sec=2)

    def _register(self) -> Callable[[str], None]:
        """DBOS knows plain functions only, by names that stay the same over restarts."""

        @DBOS.step(name="job_step")
        def step(job_id: str, name: str) -> dict[str, Any]:
            return self._run_step(job_id, name)

        @DBOS.workflow(name="job")
        def workflow(job_id: str) -> None:
            job = self._start(job_id)
            if job is None:
                return
            try:
                outcome = _run_steps(job, step)
            except Exception as error:
                log.exception("job %s broke", job_id)
                outcome = {"error": f"BOute itself failed: {error!r}", "hint": REPORT_HINT}
            self._finish(job, outcome)

        return workflow

    def _start(self, job_id: str) -> Job | None:
        with self._uow() as work:
            begun = {"started_at": utc_now(), "heartbeat_at": utc_now(), "message": "Starting"}
            work.jobs.transition(job_id, [JobState.QUEUED], JobState.RUNNING, begun)
            work.commit()
            job = work.jobs.get(job_id)
        return job if job and job.state is JobState.RUNNING else None

    def _run_step(self, job_id: str, step: str) -> dict[str, Any]:
        log_path = self._settings.logs / "jobs" / f"{job_id}.log"
        log_path.parent.mkdir(parents=True, exist_ok=True)
        read_fd, write_fd = os.pipe()
        with log_path.open("ab") as log_file:
            child = subprocess.Popen(
                [sys.executable, "-m", "core.entrypoints.job_child", job_id, step, str(write_fd)],
                stdout=log_file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                pass_fds=[write_fd],
                start_new_session=True,
                env={**os.environ, **self._settings.environment},
            )
        os.close(write_fd)
        self._children.add(child)
        try:
            self._watch(child, job_id)
        finally:
            self._children.discard(child)
            with os.fdopen(read_fd, encoding="utf-8") as pipe:
                answer = pipe.read()
        return self._outcome(job_id, answer, log_path)

    def _watch(self, child: "subprocess.Popen[bytes]", job_id: str) -> None:
        """Wait for the child; end it when the operator cancels."""
        while True:
            try:
                child.wait(POLL_S)
                return
            except subprocess.TimeoutExpired:
                if cancel_requested(self._uow, job_id):
                    _end(child)

    def _outcome(self, job_id: str, answer: str, log_path: Path) -> dict[str, Any]:
        if self._closing:
            # Not an outcome of the work: leave the step unrecorded, so that it is run again.
            raise SystemExit("the controller is stopping")
        if answer:
            outcome: dict[str, Any] = json.loads(answer)
            return outcome
        if cancel_requested(self._uow, job_id):
            return {"cancelled": "Cancelled by the operator."}
        tail = log_path.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL_CHARS:]
        return {
            "error": f"The job's process died. Its last words: {tail.strip()}",
            "hint": f"The whole log is {log_path.name} in the logs/jobs folder.",
        }

    def _finish(self, job: Job, outcome: Mapping[str, Any]) -> None:
        state, changes = _ending(outcome)
        with self._uow() as work:
            work.jobs.transition(job.job_id, [JobState.RUNNING], state, changes)
            for replica in work.replicas.by_owner(job_owner(job.job_id)):
                work.replicas.set_wanted(replica.replica_id, False)
            if state is not JobState.SUCCEEDED:
                _cancel_rest_of_group(work, job)
            work.commit()


def cancel_requested(uow: UnitOfWorkFactory, job_id: str) -> bool:
    """Whether a job is to stop; not while the database is away, for its child works on."""
    try:
        with uow() as work:
            job = work.jobs.get(job_id)
    except EnvironmentFailed:
        return False
    return job is None or job.cancel_requested


def _run_steps(job: Job, step: Callable[[str, str], dict[str, Any]]) -> dict[str, Any]:
    outcome: dict[str, Any] = {"result": {}}
    for name in body_of(job.kind).steps(job):
        outcome = step(job.job_id, name)
        if "result" not in outcome:
            break
    return outcome


def _ending(outcome: Mapping[str, Any]) -> tuple[JobState, dict[str, Any]]:
    now = utc_now()
    if "result" in outcome:
        done = {"progress": 1.0, "message": "Done", "result": outcome["result"]}
        return JobState.SUCCEEDED, {**done, "finished_at": now}
    if "cancelled" in outcome:
        return JobState.CANCELLED, {"message": outcome["cancelled"], "finished_at": now}
    failed = {"message": outcome["error"], "hint": outcome.get("hint", "")}
    return JobState.FAILED, {**failed, "finished_at": now}


def _cancel_rest_of_group(work: UnitOfWork, job: Job) -> None:
    """Jobs started by the same click build on each other: what follows a failure cannot run."""
    if job.group_id is None:
        return
    note = {"message": f"Not run, because “{job.title}” did not finish", "finished_at": utc_now()}
    for other in work.jobs.active():
        if other.group_id == job.group_id and other.job_id != job.job_id:
            work.jobs.transition(other.job_id, [ACTIVE_JOB_STATES[0]], JobState.CANCELLED, note)


def _dbos_config(settings: Settings) -> DBOSConfig:
    return DBOSConfig(
        name="boute",
        system_database_url=settings.jobs_database_url,
        application_version="1",
        log_level="WARNING",
        enable_otlp=False,
        serializer=DBOSPortableJSONSerializer(),
    )


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End a child's whole process group: ask, wait, kill."""
    for sign, patience_s in ((signal.SIGTERM, TERM_WAIT_S), (signal.SIGKILL, TERM_WAIT_S)):
        try:
            os.killpg(child.pid, sign)
            child.wait(patience_s)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
