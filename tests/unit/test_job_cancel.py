"""A job goes on while the database is away, and stops when it is told to."""

import pytest

from core.domain.job import JobState
from core.entrypoints.job_runner import cancel_requested
from core.errors import EnvironmentFailed
from core.ports import UnitOfWork, UnitOfWorkFactory
from tests.contract import samples


def away() -> UnitOfWork:
    raise EnvironmentFailed("The database does not answer.")


def test_a_database_that_is_away_cancels_nothing() -> None:
    assert not cancel_requested(away, "j1")


@pytest.mark.parametrize("asked", [True, False])
def test_the_operator_decides(memory_uow: UnitOfWorkFactory, asked: bool) -> None:
    with memory_uow() as work:
        work.jobs.add(samples.job("j1", state=JobState.RUNNING))
        if asked:
            assert work.jobs.request_cancel("j1")
        work.commit()
    assert cancel_requested(memory_uow, "j1") is asked
    assert cancel_requested(memory_uow, "gone")
