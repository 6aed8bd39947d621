"""One transaction over all repositories."""

from functools import lru_cache
from types import TracebackType
from typing import Self

from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from core.errors import EnvironmentFailed
from core.ports import UnitOfWorkFactory
from db.engine import make_engine
from db.repositories.fleet import SqlDevices, SqlModels, SqlPrices
from db.repositories.measurements import (
    SqlClassifiers,
    SqlOutcomes,
    SqlProfiles,
    SqlQuerySets,
    SqlWorkloads,
)
from db.repositories.operations import SqlJobs, SqlReplicas, SqlRequests
from db.repositories.planning import SqlDeployments, SqlStudies


class SqlUnitOfWork:
    """`UnitOfWork` over one SQLAlchemy session; rolls back unless committed."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions

    def __enter__(self) -> Self:
        self._session = session = self._sessions()
        self.devices = SqlDevices(session)
        self.prices = SqlPrices(session)
        self.models = SqlModels(session)
        self.profiles = SqlProfiles(session)
        self.workloads = SqlWorkloads(session)
        self.query_sets = SqlQuerySets(session)
        self.outcomes = SqlOutcomes(session)
        self.classifiers = SqlClassifiers(session)
        self.studies = SqlStudies(session)
        self.deployments = SqlDeployments(session)
        self.replicas = SqlReplicas(session)
        self.jobs = SqlJobs(session)
        self.requests = SqlRequests(session)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session.close()
        if isinstance(error, OperationalError):
            raise _environment_failed(error) from error

    def commit(self) -> None:
        """Make everything since entering durable."""
        self._session.commit()


@lru_cache
def uow_factory(url: str) -> UnitOfWorkFactory:
    """Return what opens transactions on a database; one engine per URL and process."""
    sessions = sessionmaker(make_engine(url), expire_on_commit=False)
    return lambda: SqlUnitOfWork(sessions)


def _environment_failed(error: DatabaseError) -> EnvironmentFailed:
    cause = str(error.orig).strip().splitlines()[0]
    if "no such table" in cause:
        return EnvironmentFailed("The database has no tables yet.", "Run `boute migrate`.")
    if "full" in cause:
        return EnvironmentFailed("The disk that holds the database is full.", "Free some space.")
    return EnvironmentFailed(
        f"The database does not answer: {cause}",
        "Is it running, and does BOUTE_DATABASE_URL name it?",
    )
