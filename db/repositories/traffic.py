"""Request records, tenants and their keys, usage."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import CursorResult, Select, and_, case, delete, func, select
from sqlalchemy.orm import Session

from core.domain.guard import Answered
from core.domain.tenant import ApiKey, Tenant, Usage
from core.domain.traffic import RequestRecord
from core.ports import RequestTotals
from db.mapping import Mapper
from db.models import ApiKeyRow, RequestRow, TenantRow, UsageRow
from db.repositories.base import Table

REQUESTS = Mapper(RequestRecord, RequestRow)
TENANTS = Mapper(Tenant, TenantRow)
KEYS = Mapper(ApiKey, ApiKeyRow)
USAGE = Mapper(Usage, UsageRow)


@dataclass(frozen=True, slots=True)
class DayTotals:
    """`RequestTotals` as the database adds them up."""

    day: str
    model: str
    requests: int
    input_tokens: int
    output_tokens: int


class SqlRequests:
    """`RequestRepository` in SQL."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._table = Table(session, REQUESTS)
        self._usage = Table(session, USAGE)

    def add(self, records: Sequence[RequestRecord]) -> None:
        """Append a batch and add it to the usage; what is there already stays."""
        new = self._table.insert_new(records, RequestRow.request_id)
        # In one order, or two gateways that add to the same rows could wait for each other.
        added = sorted(used(r for r in records if r.request_id in new), key=astuple)
        self._usage.add_up(added, ("requests", "input_tokens", "output_tokens", "cost_usd"))

    def between(self, start: datetime, end: datetime, limit: int = 100_000) -> list[RequestRecord]:
        """Return records with start <= at < end, oldest first."""
        within = self._table.query().where(RequestRow.at >= start, RequestRow.at < end)
        return self._table.many(within.order_by(RequestRow.at, RequestRow.request_id).limit(limit))

    def latest(self, limit: int = 50) -> list[RequestRecord]:
        """Return the newest records, newest first."""
        order = (RequestRow.at.desc(), RequestRow.request_id)
        return self._table.many(self._table.query().order_by(*order).limit(limit))

    def answered(self, plan_id: str, since: datetime, longer_than_s: float | None) -> Answered:
        """Count how requests by a plan fared."""
        whole, failed = RequestRow.status == 200, RequestRow.status >= 500
        slow = RequestRow.e2e_ms > 1000 * (math.inf if longer_than_s is None else longer_than_s)
        counted = [
            func.count(case((condition, 1))) for condition in (whole, failed, and_(whole, slow))
        ]
        asked = RequestRow.plan_id == plan_id, RequestRow.at >= since
        row = list(self._session.execute(select(*counted).where(*asked)).one())
        return Answered(whole=row[0], failed=row[1], slow=row[2])

    def totals_by_day(self) -> list[RequestTotals]:
        """Return sums per UTC day and model over answered requests."""
        counted = (UsageRow.requests, UsageRow.input_tokens, UsageRow.output_tokens)
        totals = (
            select(UsageRow.day, UsageRow.model, *(func.sum(column) for column in counted))
            .where(UsageRow.requests > 0)
            .group_by(UsageRow.day, UsageRow.model)
            .order_by(UsageRow.day, UsageRow.model)
        )
        return [
            DayTotals(day, model, *(int(total) for total in sums))
            for day, model, *sums in self._session.execute(totals)
        ]

    def prune(self, before: datetime, limit: int) -> int:
        """Remove the oldest records before a moment."""
        oldest = (
            select(RequestRow.request_id)
            .where(RequestRow.at < before)
            .order_by(RequestRow.at)
            .limit(limit)
        )
        removal = delete(RequestRow).where(RequestRow.request_id.in_(oldest))
        result = self._session.execute(removal, execution_options={"synchronize_session": False})
        return result.rowcount if isinstance(result, CursorResult) else 0


def used(records: Iterable[RequestRecord]) -> list[Usage]:
    """Add records up per UTC day, key and model; what no model answered uses nothing."""
    sums: dict[tuple[str, str, str, str], Usage] = {}
    for record in records:
        for part in record.usage:
            key = (part.day, part.tenant_id, part.key_id, part.model)
            before = sums.get(key)
            sums[key] = before.plus(part) if before else part
    return list(sums.values())


class SqlTenants:
    """`TenantRepository` in SQL."""

    def __init__(self, session: Session) -> None:
        self._table = Table(session, TENANTS)

    def save(self, tenant: Tenant) -> None:
        """Insert or replace."""
        self._table.upsert([tenant])

    def get(self, tenant_id: str) -> Tenant | None:
        """Return one tenant."""
        return self._table.one(self._table.query().where(TenantRow.tenant_id == tenant_id))

    def all(self) -> list[Tenant]:
        """Return every tenant by name."""
        return self._table.many(self._table.query().order_by(TenantRow.name))


class SqlKeys:
    """`KeyRepository` in SQL."""

    def __init__(self, session: Session) -> None:
        self._table = Table(session, KEYS)

    def add(self, key: ApiKey) -> None:
        """Append a key."""
        self._table.insert([key])

    def all(self) -> list[ApiKey]:
        """Return every key, oldest first."""
        return self._table.many(
            self._table.query().order_by(ApiKeyRow.created_at, ApiKeyRow.key_id)
        )

    def revoke(self, key_id: str, at: datetime) -> bool:
        """Stop a working key."""
        where = [ApiKeyRow.key_id == key_id, ApiKeyRow.revoked_at.is_(None)]
        return self._table.change(where, {"revoked_at": at})


class SqlUsage:
    """`UsageRepository` in SQL."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._table = Table(session, USAGE)

    def since(self, day: str, key_id: str | None = None) -> list[Usage]:
        """Return usage from a UTC day on."""
        found: Select[Any] = self._table.query().where(UsageRow.day >= day)
        if key_id is not None:
            found = found.where(UsageRow.key_id == key_id)
        order = (UsageRow.day, UsageRow.tenant_id, UsageRow.key_id, UsageRow.model)
        return self._table.many(found.order_by(*order))

    def cost_by_tenant(self, since_day: str) -> dict[str, float]:
        """Return the cost from a UTC day on, per tenant."""
        costs = (
            select(UsageRow.tenant_id, func.sum(UsageRow.cost_usd))
            .where(UsageRow.day >= since_day, UsageRow.tenant_id != "")
            .group_by(UsageRow.tenant_id)
        )
        return {tenant_id: float(cost) for tenant_id, cost in self._session.execute(costs)}
