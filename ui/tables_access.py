"""Frames of tenants and keys. Pure functions; units in column names."""

from collections.abc import Mapping, Sequence

import pandas as pd

from core.domain.tenant import ApiKey, Tenant
from core.services.tenants import Month

NOTHING = Month(0, 0, 0.0)
HIDDEN = "boute-…"


def tenants_frame(
    tenants: Sequence[Tenant], keys: Sequence[ApiKey], used: Mapping[str, Month]
) -> pd.DataFrame:
    """Return one row per tenant: limits, and what was used of them in this month."""
    working = [key.tenant_id for key in keys if key.revoked_at is None]
    return pd.DataFrame(
        {
            "name": tenant.name,
            "enabled": tenant.enabled,
            "keys": working.count(tenant.tenant_id),
            "requests": used.get(tenant.tenant_id, NOTHING).requests,
            "tokens": used.get(tenant.tenant_id, NOTHING).tokens,
            "spent_usd": used.get(tenant.tenant_id, NOTHING).cost_usd,
            "budget_usd": tenant.budget_usd_per_month,
            "requests_per_minute": tenant.requests_per_minute,
            "tokens_per_minute": tenant.tokens_per_minute,
            "quality_floor": tenant.quality_floor,
        }
        for tenant in tenants
    )


def keys_frame(keys: Sequence[ApiKey], tenants: Sequence[Tenant]) -> pd.DataFrame:
    """Return one row per key, in the order given."""
    names = {tenant.tenant_id: tenant.name for tenant in tenants}
    return pd.DataFrame(
        {
            "tenant": names.get(key.tenant_id, ""),
            "name": key.name,
            "key": HIDDEN + key.hint,
            "created_at": key.created_at,
            "revoked_at": key.revoked_at,
        }
        for key in keys
    )
