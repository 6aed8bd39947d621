"""`UnitOfWork` in memory, for tests that need no database; passes the contract suite."""

from types import TracebackType
from typing import Self

from tests.fakes.memory_operation import (
    MemoryDeployments,
    MemoryJobs,
    MemoryKeys,
    MemoryReplicas,
    MemoryRequests,
    MemoryTenants,
    MemoryUsage,
)
from tests.fakes.memory_planning import (
    MemoryChecks,
    MemoryClassifiers,
    MemoryDevices,
    MemoryModels,
    MemoryOutcomes,
    MemoryPrices,
    MemoryProfiles,
    MemoryQuerySets,
    MemoryStudies,
    MemoryWorkloads,
)
from tests.fakes.memory_store import Store, Transaction


class MemoryUnitOfWork:
    """One transaction over all repositories."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __enter__(self) -> Self:
        self._transaction = transaction = Transaction(self._store)
        self.devices = MemoryDevices(transaction)
        self.prices = MemoryPrices(transaction)
        self.models = MemoryModels(transaction)
        self.profiles = MemoryProfiles(transaction)
        self.workloads = MemoryWorkloads(transaction)
        self.query_sets = MemoryQuerySets(transaction)
        self.outcomes = MemoryOutcomes(transaction)
        self.checks = MemoryChecks(transaction)
        self.classifiers = MemoryClassifiers(transaction)
        self.studies = MemoryStudies(transaction)
        self.deployments = MemoryDeployments(transaction)
        self.replicas = MemoryReplicas(transaction)
        self.jobs = MemoryJobs(transaction)
        self.requests = MemoryRequests(transaction)
        self.tenants = MemoryTenants(transaction)
        self.api_keys = MemoryKeys(transaction)
        self.usage = MemoryUsage(transaction)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._transaction.rollback()

    def commit(self) -> None:
        self._transaction.commit()


class MemoryDatabase:
    """A database that lives as long as the object."""

    def __init__(self) -> None:
        self.store = Store()

    def unit_of_work(self) -> MemoryUnitOfWork:
        """Open a transaction on it."""
        return MemoryUnitOfWork(self.store)
