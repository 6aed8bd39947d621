import pytest

from core.demo.arithmetic import extract_answer
from core.demo.first_start import (
    MODELS,
    QUERIES_PER_CLASS,
    arithmetic_query_set,
    start_built_in_fleet,
)
from core.domain.ids import utc_now
from core.domain.job import JobKind
from core.errors import Conflict, NotReady
from core.ports import UnitOfWorkFactory
from core.services import catalog, inventory, jobs
from tests.unit.small_world import add_devices


def test_it_needs_a_device(sqlite_uow: UnitOfWorkFactory) -> None:
    with pytest.raises(NotReady, match="controller"):
        start_built_in_fleet(sqlite_uow, utc_now())
    assert jobs.jobs(sqlite_uow) == []


def test_one_click_enqueues_everything_in_order(sqlite_uow: UnitOfWorkFactory) -> None:
    add_devices(sqlite_uow, 2)
    group = start_built_in_fleet(sqlite_uow, utc_now())
    queued = jobs.jobs(sqlite_uow)[::-1]
    assert {job.group_id for job in queued} == {group}
    assert [job.kind for job in queued] == [
        JobKind.PROFILE,
        JobKind.QUALITY,
        JobKind.PROFILE,
        JobKind.QUALITY,
        JobKind.CLASSIFIER,
        JobKind.CHARACTERISE,
    ]
    assert {m.name for m in catalog.models(sqlite_uow)} == set(MODELS)


def test_a_second_click_is_refused_and_changes_nothing(sqlite_uow: UnitOfWorkFactory) -> None:
    add_devices(sqlite_uow, 2)
    start_built_in_fleet(sqlite_uow, utc_now())
    before = jobs.jobs(sqlite_uow)
    with pytest.raises(Conflict):
        start_built_in_fleet(sqlite_uow, utc_now())
    assert jobs.jobs(sqlite_uow) == before


def test_the_operators_price_is_kept(sqlite_uow: UnitOfWorkFactory) -> None:
    add_devices(sqlite_uow, 2)
    price = inventory.set_price(sqlite_uow, "cpu-core", 0.5, utc_now())
    start_built_in_fleet(sqlite_uow, utc_now())
    assert inventory.price_history(sqlite_uow) == [price]


def test_the_query_set_has_right_references_and_mixed_classes() -> None:
    query_set = arithmetic_query_set()
    assert len(query_set.queries) == 3 * QUERIES_PER_CLASS
    assert query_set.classes == ("easy", "hard", "medium")
    assert all(extract_answer(f"Answer: {q.reference}.") for q in query_set.queries)
