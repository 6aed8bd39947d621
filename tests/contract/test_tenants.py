"""Tenants, keys, usage and pruning: one contract for memory, SQLite and PostgreSQL."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from core.domain.tenant import Usage
from core.errors import Conflict
from core.ports import UnitOfWorkFactory
from tests.contract import samples


def test_tenants_by_name(any_uow: UnitOfWorkFactory) -> None:
    first, second = samples.tenant("a", name="Zoo"), samples.tenant("b", name="Bank")
    with any_uow() as work:
        work.tenants.save(first)
        work.tenants.save(second)
        work.commit()
    changed = replace(first, budget_usd_per_month=None, enabled=False)
    with any_uow() as work:
        work.tenants.save(changed)
        assert work.tenants.all() == [second, changed]
        assert work.tenants.get("a") == changed
        assert work.tenants.get("c") is None


def test_a_name_is_given_once(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as work:
        work.tenants.save(samples.tenant("a", name="Zoo"))
        work.commit()
    with pytest.raises(Conflict), any_uow() as work:
        work.tenants.save(samples.tenant("b", name="Zoo"))
    with any_uow() as work:
        assert [t.tenant_id for t in work.tenants.all()] == ["a"]


def test_keys_are_revoked_once(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as work:
        work.tenants.save(samples.tenant())
        work.api_keys.add(samples.api_key("k2", 1))
        work.api_keys.add(samples.api_key("k1"))
        work.commit()
    with any_uow() as work:
        assert [key.key_id for key in work.api_keys.all()] == ["k1", "k2"]
        assert work.api_keys.revoke("k1", samples.later(5))
        assert not work.api_keys.revoke("k1", samples.later(6))
        assert not work.api_keys.revoke("k3", samples.later(6))
        revoked = samples.api_key("k1", revoked_at=samples.later(5))
        assert work.api_keys.all() == [revoked, samples.api_key("k2", 1)]


@pytest.mark.parametrize("fault", [{"tenant_id": "t9"}, {"digest": samples.api_key().digest}])
def test_keys_need_their_tenant_and_a_secret_of_their_own(
    any_uow: UnitOfWorkFactory, fault: dict[str, Any]
) -> None:
    with any_uow() as work:
        work.tenants.save(samples.tenant())
        work.api_keys.add(samples.api_key())
        work.commit()
    with pytest.raises(Conflict), any_uow() as work:
        work.api_keys.add(samples.api_key("k2", **fault))


def test_usage_adds_up_per_day_key_and_model(any_uow: UnitOfWorkFactory) -> None:
    tomorrow = datetime(2026, 3, 2, 0, 0, 1, tzinfo=UTC)
    owned = samples.owned_request
    with any_uow() as work:
        work.requests.add(
            [owned("a"), owned("b"), owned("c", model="large"), owned("d", at=tomorrow)]
        )
        work.commit()
    with any_uow() as work:
        work.requests.add([owned("a"), owned("e", key_id="k2"), samples.request("f")])
        work.requests.add([owned("g", status=499, output_tokens=None, cost_usd=0.5)])
        work.requests.add([owned("h", status=503, model="", cost_usd=None)])
        work.commit()
    today = "2026-03-01"
    with any_uow() as work:
        assert work.usage.since(today) == [
            Usage(today, "", "", "small", 1, 18, 24, 0.0),
            Usage(today, "t1", "k1", "large", 1, 18, 24, 0.0125),
            Usage(today, "t1", "k1", "small", 2, 36, 48, 0.525),
            Usage(today, "t1", "k2", "small", 1, 18, 24, 0.0125),
            Usage("2026-03-02", "t1", "k1", "small", 1, 18, 24, 0.0125),
        ]
        assert [u.key_id for u in work.usage.since(today, "k2")] == ["k2"]
        assert work.usage.since("2026-03-03") == []
        assert work.usage.cost_by_tenant(today) == pytest.approx({"t1": 0.5625})
        assert work.usage.cost_by_tenant("2026-03-02") == pytest.approx({"t1": 0.0125})


def test_a_first_call_is_used_of_its_own_model(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as work:
        work.requests.add([samples.escalated_request("a"), samples.escalated_request("b")])
        gave_up = {"status": 503, "model": "", "cost_usd": None}
        work.requests.add([samples.escalated_request("c", **gave_up)])
        work.commit()
    today = "2026-03-01"
    with any_uow() as work:
        assert work.usage.since(today) == [
            Usage(today, "t1", "k1", "small", 2, 36, 48, 0.025),
            Usage(today, "t1", "k1", "tiny", 0, 54, 60, pytest.approx(0.0075)),
        ]
        assert [total.model for total in work.requests.totals_by_day()] == ["small"]


def test_a_batch_that_was_not_committed_is_not_counted(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as work:
        work.requests.add([samples.owned_request()])
    with any_uow() as work:
        assert work.usage.since("") == []
        work.requests.add([samples.owned_request()])
        assert [used.requests for used in work.usage.since("")] == [1]


def test_pruning_takes_the_oldest_and_keeps_the_sums(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as work:
        work.requests.add([samples.request(name, minute) for minute, name in enumerate("abcde")])
        before = work.requests.totals_by_day()
        assert work.requests.prune(samples.later(3), 2) == 2
        assert [r.request_id for r in work.requests.latest()] == ["e", "d", "c"]
        assert work.requests.prune(samples.later(3), 2) == 1
        assert work.requests.prune(samples.later(3), 2) == 0
        assert [r.request_id for r in work.requests.latest()] == ["e", "d"]
        assert work.requests.totals_by_day() == before
