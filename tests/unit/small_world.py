"""A small, plausible fleet for tests: two cores, two models, one plan."""

from core.domain.catalog import ModelSpec
from core.domain.fleet import Device, DeviceKind
from core.domain.ids import utc_now
from core.domain.plan import ReplicaKind, make_plan
from core.domain.quality import Query, QuerySet
from core.ports import UnitOfWorkFactory

SMALL = ReplicaKind("small", "cpu-core")
LARGE = ReplicaKind("large", "cpu-core")
PLAN = make_plan({SMALL: 1, LARGE: 1}, {"easy": {"small": 1.0}, "hard": {"large": 1.0}})
ALL_LARGE = make_plan({LARGE: 2}, {"easy": {"large": 1.0}, "hard": {"large": 1.0}})


def add_devices(uow: UnitOfWorkFactory, count: int) -> None:
    devices = [
        Device(
            f"n/cpu/{i}", "n", i, "cpu-core", DeviceKind.CPU, 2**33, 2**30, 0.1, None, utc_now()
        )
        for i in range(count)
    ]
    with uow() as work:
        work.devices.upsert(devices)
        work.commit()


def add_models(uow: UnitOfWorkFactory) -> None:
    queries = (Query("What is 1 + 1?", "easy", "2"), Query("1 + 2 + 3", "hard", "6"))
    with uow() as work:
        for name in ("small", "large"):
            work.models.save(ModelSpec(name, f"models/{name}", 1000, 64, 256, 16, utc_now()))
        work.query_sets.save(QuerySet("arithmetic", "numeric", 64, queries))
        work.commit()
