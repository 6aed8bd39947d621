"""Tenants and keys as use cases."""

import pytest

from core.domain.tenant import digest_of, first_of_month, next_month, utc_day
from core.errors import Conflict, InvalidInput, NotFound
from core.ports import UnitOfWorkFactory
from core.services import tenants
from core.services.tenants import Limits, Month
from tests.contract import samples

NOW = samples.NOW


def test_a_tenant_and_its_limits(memory_uow: UnitOfWorkFactory) -> None:
    made = tenants.create_tenant(memory_uow, "  Search  ", Limits(60, None, 20.0, 0.9), NOW)
    assert (made.name, made.requests_per_minute, made.quality_floor) == ("Search", 60, 0.9)
    changed = tenants.set_limits(memory_uow, made.tenant_id, Limits(budget_usd_per_month=5.0))
    assert (changed.requests_per_minute, changed.budget_usd_per_month) == (None, 5.0)
    off = tenants.set_enabled(memory_uow, made.tenant_id, False)
    assert tenants.tenants(memory_uow) == [off]
    assert tenants.tenant_named(memory_uow, "Search") == off
    with pytest.raises(NotFound, match="Serach"):
        tenants.tenant_named(memory_uow, "Serach")


def test_names_are_given_once(memory_uow: UnitOfWorkFactory) -> None:
    tenants.create_tenant(memory_uow, "Search", Limits(), NOW)
    with pytest.raises(Conflict, match="Search"):
        tenants.create_tenant(memory_uow, "Search ", Limits(), NOW)


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\nb"])
def test_names_that_are_none(memory_uow: UnitOfWorkFactory, name: str) -> None:
    with pytest.raises(InvalidInput):
        tenants.create_tenant(memory_uow, name, Limits(), NOW)


@pytest.mark.parametrize(
    "limits",
    [
        Limits(requests_per_minute=0),
        Limits(tokens_per_minute=-1),
        Limits(budget_usd_per_month=float("nan")),
        Limits(budget_usd_per_month=float("inf")),
        Limits(quality_floor=1.1),
        Limits(quality_floor=float("nan")),
    ],
)
def test_limits_that_are_none(memory_uow: UnitOfWorkFactory, limits: Limits) -> None:
    with pytest.raises(InvalidInput):
        tenants.create_tenant(memory_uow, "Search", limits, NOW)
    assert tenants.tenants(memory_uow) == []


def test_keys_are_shown_once_and_revoked_once(memory_uow: UnitOfWorkFactory) -> None:
    tenant = tenants.create_tenant(memory_uow, "Search", Limits(), NOW)
    one = tenants.issue_key(memory_uow, tenant.tenant_id, "web", NOW)
    two = tenants.issue_key(memory_uow, tenant.tenant_id, "web", samples.later(1))
    assert one.secret != two.secret
    assert [k.digest for k in tenants.keys(memory_uow)] == [
        digest_of(one.secret),
        digest_of(two.secret),
    ]
    tenants.revoke_key(memory_uow, one.key.key_id, samples.later(2))
    with pytest.raises(NotFound):
        tenants.revoke_key(memory_uow, one.key.key_id, samples.later(3))
    assert [key.revoked_at for key in tenants.keys(memory_uow)] == [samples.later(2), None]


def test_what_is_not_there(memory_uow: UnitOfWorkFactory) -> None:
    with pytest.raises(NotFound):
        tenants.issue_key(memory_uow, "nobody", "web", NOW)
    with pytest.raises(NotFound):
        tenants.set_limits(memory_uow, "nobody", Limits())


def test_usage_of_the_month(memory_uow: UnitOfWorkFactory) -> None:
    with memory_uow() as work:
        work.requests.add(
            [
                samples.owned_request("a"),
                samples.owned_request("b", key_id="k2", model="large"),
                samples.owned_request("c", minutes=-60 * 24),
                samples.request("d"),
            ]
        )
        work.commit()
    month = tenants.usage_of_month(memory_uow, NOW)
    assert month == {"": Month(1, 42, 0.0), "t1": Month(2, 84, pytest.approx(0.025))}


def test_months_and_days() -> None:
    assert utc_day(NOW) == "2026-03-01"
    assert first_of_month(samples.later(60 * 24 * 30)) == "2026-03-01"
    assert next_month(NOW).isoformat() == "2026-04-01T00:00:00+00:00"
    assert next_month(samples.later(60 * 24 * 300)).isoformat() == "2027-01-01T00:00:00+00:00"
