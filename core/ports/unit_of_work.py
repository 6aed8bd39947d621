"""Ports of one transaction over all repositories."""

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from core.ports.operation import (
    DeploymentRepository,
    JobRepository,
    KeyRepository,
    ReplicaRepository,
    RequestRepository,
    TenantRepository,
    UsageRepository,
)
from core.ports.planning import (
    CheckRepository,
    ClassifierRepository,
    DeviceRepository,
    ModelRepository,
    OutcomeRepository,
    PriceRepository,
    ProfileRepository,
    QuerySetRepository,
    StudyRepository,
    WorkloadRepository,
)


class UnitOfWork(Protocol):
    """One transaction: leave without `commit` and nothing happened."""

    @property
    def devices(self) -> DeviceRepository: ...
    @property
    def prices(self) -> PriceRepository: ...
    @property
    def models(self) -> ModelRepository: ...
    @property
    def profiles(self) -> ProfileRepository: ...
    @property
    def workloads(self) -> WorkloadRepository: ...
    @property
    def query_sets(self) -> QuerySetRepository: ...
    @property
    def outcomes(self) -> OutcomeRepository: ...
    @property
    def checks(self) -> CheckRepository: ...
    @property
    def classifiers(self) -> ClassifierRepository: ...
    @property
    def studies(self) -> StudyRepository: ...
    @property
    def deployments(self) -> DeploymentRepository: ...
    @property
    def replicas(self) -> ReplicaRepository: ...
    @property
    def jobs(self) -> JobRepository: ...
    @property
    def requests(self) -> RequestRepository: ...
    @property
    def tenants(self) -> TenantRepository: ...
    @property
    def api_keys(self) -> KeyRepository: ...
    @property
    def usage(self) -> UsageRepository: ...

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def commit(self) -> None:
        """Make everything since entering durable."""


UnitOfWorkFactory = Callable[[], UnitOfWork]
