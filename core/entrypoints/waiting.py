"""Waiting for the controller from a terminal, with progress on stderr."""

import re
import sys
import time
from collections.abc import Callable
from datetime import timedelta

from core.domain.deployment import Deployment, DeploymentState
from core.domain.ids import utc_now
from core.domain.job import Job, JobState
from core.errors import BOuteError, EngineFailed, NotReady
from core.ports import UnitOfWorkFactory
from core.services import deployments, inventory, jobs

POLL_S = 0.5
REPEAT_S = 10.0
NUMBER = re.compile(r"\d+")
FRESH = timedelta(seconds=30)


def say(text: str) -> None:
    """Tell the person at the terminal; stdout stays free for results."""
    print(text, file=sys.stderr, flush=True)


def require_controller(uow: UnitOfWorkFactory, patience_s: float = 0.0) -> None:
    """Check that a controller reports devices, for it alone runs jobs.

    Raises:
        NotReady: No device was reported lately.
    """
    deadline_s = time.monotonic() + patience_s
    while not any(d.seen_at > utc_now() - FRESH for d in inventory.devices(uow)):
        if time.monotonic() > deadline_s:
            raise NotReady(
                "No controller is running on this database.", "Start one with `boute up`."
            )
        time.sleep(POLL_S)


def wait_for_jobs(uow: UnitOfWorkFactory, mine: Callable[[Job], bool]) -> list[Job]:
    """Wait until no job of mine is active; print what changes.

    Raises:
        BOuteError: One of them failed or was cancelled; carries its message and hint.
    """
    told: dict[str, tuple[str, float]] = {}
    while True:
        found = [job for job in jobs.jobs(uow) if mine(job)]
        for job in reversed(found):
            _tell(job, told)
        if not any(job.active for job in found):
            _raise_failure(found)
            return found
        time.sleep(POLL_S)


def _tell(job: Job, told: dict[str, tuple[str, float]]) -> None:
    """Print a job's progress when it does something else, or now and then while it counts on."""
    text = f"{job.state.value:>9}  {job.title}: {job.message}"
    doing = NUMBER.sub("#", text)
    last, at_s = told.get(job.job_id, ("", 0.0))
    due = doing != last or (job.active and time.monotonic() - at_s > REPEAT_S)
    if due and job.state is not JobState.QUEUED:
        told[job.job_id] = (doing, time.monotonic())
        say(f"  {job.progress:4.0%} {text}")


def wait_until_active(uow: UnitOfWorkFactory, deployment_id: str) -> Deployment:
    """Wait until a deployment serves.

    Raises:
        EngineFailed: Its replicas did not start.
    """
    while True:
        found = next(d for d in deployments.deployments(uow) if d.deployment_id == deployment_id)
        if found.state is DeploymentState.ACTIVE:
            return found
        if found.state is not DeploymentState.ROLLING:
            raise EngineFailed(f"The deployment is {found.state.value}: {found.message}")
        time.sleep(POLL_S)


def _raise_failure(found: list[Job]) -> None:
    broken = [j for j in reversed(found) if j.state is not JobState.SUCCEEDED]
    if broken:
        first = broken[0]
        raise BOuteError(f"{first.title} {first.state.value}: {first.message}", first.hint)
