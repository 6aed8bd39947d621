"""The Access page: tenants with limits, keys that are shown once."""

from core.domain.ids import utc_now
from core.domain.tenant import digest_of
from core.ports import UnitOfWorkFactory
from core.services import tenants
from core.services.tenants import Limits
from tests.contract import samples
from tests.ui.conftest import OpenPage, texts


def test_the_empty_page_says_what_a_tenant_is(uow: UnitOfWorkFactory, open_page: OpenPage) -> None:
    at = open_page("access")
    assert "No tenant yet" in texts(at)
    assert "BOUTE_API_KEYS=on" in texts(at)


def test_a_tenant_is_made_and_changed(uow: UnitOfWorkFactory, open_page: OpenPage) -> None:
    at = open_page("access")
    at.text_input(key="tenant_name").set_value("Search")
    at.number_input(key="tenant_budget").set_value(20.0)
    at.button(key="tenant_save").click().run()
    assert not at.exception
    assert "Search is saved" in texts(at)
    [made] = tenants.tenants(uow)
    assert (made.name, made.budget_usd_per_month, made.quality_floor) == ("Search", 20.0, None)
    at.selectbox(key="tenant_chosen").set_value(made.tenant_id)
    at.number_input(key="tenant_floor").set_value(0.9)
    at.number_input(key="tenant_budget").set_value(30.0)
    at.button(key="tenant_save").click().run()
    [changed] = tenants.tenants(uow)
    assert (changed.budget_usd_per_month, changed.quality_floor) == (30.0, 0.9)


def test_a_limit_that_is_none_is_refused(uow: UnitOfWorkFactory, open_page: OpenPage) -> None:
    at = open_page("access")
    at.text_input(key="tenant_name").set_value("Search")
    at.number_input(key="tenant_floor").set_value(3.0)
    at.button(key="tenant_save").click().run()
    assert "between 0 and 1" in texts(at)
    assert tenants.tenants(uow) == []


def test_a_key_is_shown_once_and_can_be_revoked(
    uow: UnitOfWorkFactory, open_page: OpenPage
) -> None:
    tenants.create_tenant(uow, "Search", Limits(), utc_now())
    at = open_page("access")
    at.text_input(key="key_name").set_value("web *shop*")
    at.button(key="key_make").click().run()
    assert not at.exception
    [code] = at.code
    [key] = tenants.keys(uow)
    assert key.digest == digest_of(code.value)
    at.button(key="key_copied").click().run()
    assert not at.code
    at.button(key="key_revoke").click().run()
    assert "no longer works" in texts(at)
    assert tenants.keys(uow)[0].revoked_at is not None


def test_usage_of_the_month_is_listed(uow: UnitOfWorkFactory, open_page: OpenPage) -> None:
    tenant = tenants.create_tenant(uow, "Search", Limits(budget_usd_per_month=20.0), utc_now())
    with uow() as work:
        record = samples.owned_request(at=utc_now(), tenant_id=tenant.tenant_id)
        work.requests.add([record])
        work.commit()
    at = open_page("access")
    [table, *_] = at.dataframe
    assert list(table.value["name"]) == ["Search"]
    assert list(table.value["spent_usd"]) == [0.0125]
    assert list(table.value["tokens"]) == [42]
