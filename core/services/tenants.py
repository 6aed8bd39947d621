"""Use cases of tenants: who may use the gateway, with which keys, and what they used."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from core.domain.ids import new_id
from core.domain.tenant import (
    ApiKey,
    Tenant,
    Usage,
    digest_of,
    first_of_month,
    hint_of,
    new_secret,
)
from core.errors import Conflict, InvalidInput, NotFound
from core.ports import UnitOfWorkFactory

LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class Limits:
    """What a tenant may use; None means no limit. See `core.domain.tenant.Tenant`."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    budget_usd_per_month: float | None = None
    quality_floor: float | None = None


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key with its secret, which can never be had again."""

    key: ApiKey
    secret: str


@dataclass(frozen=True, slots=True)
class Month:
    """What a tenant used in this UTC month so far.

    Attributes:
        requests: Answered requests.
        tokens: Prompt and answer tokens of these.
        cost_usd: Cost of the answers.
    """

    requests: int
    tokens: int
    cost_usd: float


def create_tenant(uow: UnitOfWorkFactory, name: str, limits: Limits, now: datetime) -> Tenant:
    """Store a new tenant.

    Raises:
        InvalidInput: The name is empty or too long, or a limit is none.
        Conflict: There is a tenant of that name.
    """
    tenant = _with_limits(Tenant(new_id(), _checked_name(name), now), limits)
    with uow() as work:
        if any(known.name == tenant.name for known in work.tenants.all()):
            raise Conflict(f"There is a tenant {tenant.name!r} already.", "Choose another name.")
        work.tenants.save(tenant)
        work.commit()
    return tenant


def set_limits(uow: UnitOfWorkFactory, tenant_id: str, limits: Limits) -> Tenant:
    """Replace the limits of a tenant; gateways follow within a second or two.

    Raises:
        InvalidInput: A limit is none.
        NotFound: There is no such tenant.
    """
    return _change(uow, tenant_id, lambda tenant: _with_limits(tenant, limits))


def set_enabled(uow: UnitOfWorkFactory, tenant_id: str, enabled: bool) -> Tenant:
    """Let the keys of a tenant in, or turn them all away.

    Raises:
        NotFound: There is no such tenant.
    """
    return _change(uow, tenant_id, lambda tenant: replace(tenant, enabled=enabled))


def tenants(uow: UnitOfWorkFactory) -> list[Tenant]:
    """Return every tenant by name."""
    with uow() as work:
        return work.tenants.all()


def tenant_named(uow: UnitOfWorkFactory, name: str) -> Tenant:
    """Return the tenant of a name.

    Raises:
        NotFound: There is none.
    """
    known = tenants(uow)
    for tenant in known:
        if tenant.name == name:
            return tenant
    names = ", ".join(repr(tenant.name) for tenant in known) or "none yet"
    raise NotFound(f"There is no tenant {name!r}.", f"Known tenants: {names}.")


def issue_key(uow: UnitOfWorkFactory, tenant_id: str, name: str, now: datetime) -> IssuedKey:
    """Make a key for a tenant; only its digest is stored.

    Raises:
        InvalidInput: The name is empty or too long.
        NotFound: There is no such tenant.
    """
    secret = new_secret()
    digest, hint = digest_of(secret), hint_of(secret)
    key = ApiKey(new_id(), tenant_id, _checked_name(name), digest, hint, now)
    with uow() as work:
        if work.tenants.get(tenant_id) is None:
            raise _no_tenant(tenant_id)
        work.api_keys.add(key)
        work.commit()
    return IssuedKey(key, secret)


def revoke_key(uow: UnitOfWorkFactory, key_id: str, now: datetime) -> None:
    """Stop a key for good; gateways turn it away within a second or two.

    Raises:
        NotFound: There is no such key, or it was revoked already.
    """
    with uow() as work:
        if not work.api_keys.revoke(key_id, now):
            raise NotFound("There is no such key that still works.", "Reload the page.")
        work.commit()


def keys(uow: UnitOfWorkFactory) -> list[ApiKey]:
    """Return every key, oldest first."""
    with uow() as work:
        return work.api_keys.all()


def usage_of_month(uow: UnitOfWorkFactory, now: datetime) -> dict[str, Month]:
    """Return what each tenant used in this UTC month; "" stands for requests without a key."""
    with uow() as work:
        used = work.usage.since(first_of_month(now))
    return {
        tenant_id: _added([u for u in used if u.tenant_id == tenant_id])
        for tenant_id in sorted({u.tenant_id for u in used})
    }


def _added(used: Sequence[Usage]) -> Month:
    return Month(
        sum(u.requests for u in used),
        sum(u.input_tokens + u.output_tokens for u in used),
        math.fsum(u.cost_usd for u in used),
    )


def _change(uow: UnitOfWorkFactory, tenant_id: str, changed: Callable[[Tenant], Tenant]) -> Tenant:
    with uow() as work:
        tenant = work.tenants.get(tenant_id)
        if tenant is None:
            raise _no_tenant(tenant_id)
        tenant = changed(tenant)
        work.tenants.save(tenant)
        work.commit()
    return tenant


def _with_limits(tenant: Tenant, limits: Limits) -> Tenant:
    for name in ("requests_per_minute", "tokens_per_minute", "budget_usd_per_month"):
        value = getattr(limits, name)
        if value is not None and not 0 < value < 2**31:
            words = name.replace("_", " ").replace("usd", "in $")
            raise InvalidInput(f"The limit of {words} must be above 0.", "Leave it out for none.")
    floor = limits.quality_floor
    if floor is not None and not 0 <= floor <= 1:
        raise InvalidInput("The quality floor must be between 0 and 1.")
    return replace(
        tenant,
        requests_per_minute=limits.requests_per_minute,
        tokens_per_minute=limits.tokens_per_minute,
        budget_usd_per_month=limits.budget_usd_per_month,
        quality_floor=floor,
    )


def _checked_name(name: str) -> str:
    name = name.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise InvalidInput(f"A name has 1 to {LONGEST_NAME} printable characters.")
    return name


def _no_tenant(tenant_id: str) -> NotFound:
    return NotFound(f"There is no tenant {tenant_id!r}.", "Reload the page.")
