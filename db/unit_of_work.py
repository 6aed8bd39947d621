"""One transaction over all repositories."""

from functools import partial
from threading import Lock
from types import TracebackType
from typing import Self

from sqlalchemy.exc import DatabaseError
from sqlalchemy.orm import Session, sessionmaker

from core.ports import UnitOfWorkFactory
from db.engine import make_engine
from db.failures import in_words
from db.repositories.checks import SqlChecks
from db.repositories.fleet import SqlDevices, SqlModels, SqlPrices
from db.repositories.measurements import (
    SqlClassifiers,
    SqlOutcomes,
    SqlProfiles,
    SqlQuerySets,
    SqlWorkloads,
)
from db.repositories.operations import SqlJobs, SqlReplicas
from db.repositories.planning import SqlDeployments, SqlStudies
from db.repositories.traffic import SqlKeys, SqlRequests, SqlTenants, SqlUsage

_sessions: dict[str, sessionmaker[Session]] = {}
_making = Lock()


class SqlUnitOfWork:
    """`UnitOfWork` over one SQLAlchemy session; rolls back unless committed.

    Raises:
        EnvironmentFailed: On leaving, when the database failed inside; says what to do.
        Conflict: On leaving, when it refused a row.
    """

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
        self.checks = SqlChecks(session)
        self.classifiers = SqlClassifiers(session)
        self.studies = SqlStudies(session)
        self.deployments = SqlDeployments(session)
        self.replicas = SqlReplicas(session)
        self.jobs = SqlJobs(session)
        self.requests = SqlRequests(session)
        self.tenants = SqlTenants(session)
        self.api_keys = SqlKeys(session)
        self.usage = SqlUsage(session)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session.close()
        if isinstance(error, DatabaseError) and (told := in_words(error)):
            raise told from error

    def commit(self) -> None:
        """Make everything since entering durable."""
        self._session.commit()


def uow_factory(url: str) -> UnitOfWorkFactory:
    """Return what opens transactions on a database; one engine per URL and process."""
    with _making:
        if url not in _sessions:
            _sessions[url] = sessionmaker(make_engine(url), expire_on_commit=False)
        return partial(SqlUnitOfWork, _sessions[url])


def disconnect(url: str) -> None:
    """Close this process's connections to a database; its factories must not be used again."""
    with _making:
        sessions = _sessions.pop(url, None)
    if sessions is not None:
        sessions.kw["bind"].dispose()
