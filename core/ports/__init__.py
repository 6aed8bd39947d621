"""What the engine needs from outside, as Protocols; implementations live in db and core.serving.

Rows never leave `db`: repositories take and return the frozen dataclasses of `core.domain`.
State changes are conditional updates that answer whether they happened.
"""

from core.ports.engine import (
    GpuProbe,
    JobBody,
    JobContext,
    Launcher,
    PlanEvaluator,
    PlanMeter,
    ReplicaProcess,
)
from core.ports.operation import (
    DeploymentRepository,
    JobRepository,
    KeyRepository,
    ReplicaRepository,
    RequestRepository,
    RequestTotals,
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
from core.ports.unit_of_work import (
    UnitOfWork,
    UnitOfWorkFactory,
)

__all__ = [
    "CheckRepository",
    "ClassifierRepository",
    "DeploymentRepository",
    "DeviceRepository",
    "GpuProbe",
    "JobBody",
    "JobContext",
    "JobRepository",
    "KeyRepository",
    "Launcher",
    "ModelRepository",
    "OutcomeRepository",
    "PlanEvaluator",
    "PlanMeter",
    "PriceRepository",
    "ProfileRepository",
    "QuerySetRepository",
    "ReplicaProcess",
    "ReplicaRepository",
    "RequestRepository",
    "RequestTotals",
    "StudyRepository",
    "TenantRepository",
    "UnitOfWork",
    "UnitOfWorkFactory",
    "UsageRepository",
    "WorkloadRepository",
]
