"""What tenants may still use: requests and tokens per minute, dollars per month."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from core.domain.ids import utc_now
from core.domain.tenant import Tenant, first_of_month, next_month
from core.serving.gateway.errors import ApiError

MINUTE_S = 60.0
RATE = "rate_limit_error"


class Bucket:
    """Refills to a minute's worth at a steady rate; may be overdrawn when more came than expected.

    Args:
        per_minute: Size, and refill per minute.
        now_s: Monotonic seconds.
    """

    def __init__(self, per_minute: float, now_s: float) -> None:
        self.per_minute = per_minute
        self.level = per_minute
        self._at_s = now_s

    def wait_s(self, amount: float, now_s: float) -> float:
        """Seconds until an amount may be taken; 0 for now. More than fits needs it full."""
        self._refill(now_s)
        missing = min(amount, self.per_minute) - self.level
        return max(0.0, missing * MINUTE_S / self.per_minute)

    def take(self, amount: float) -> None:
        """Take an amount, or with a negative one give back."""
        self.level = min(self.level - amount, self.per_minute)

    def _refill(self, now_s: float) -> None:
        gained = (now_s - self._at_s) * self.per_minute / MINUTE_S
        self.level, self._at_s = min(self.level + gained, self.per_minute), now_s


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request is expected to use; given back or corrected when it ends."""

    tenant_id: str
    tokens: float
    cost_usd: float


class _Meter:
    """What one tenant has left."""

    def __init__(self) -> None:
        self.requests: Bucket | None = None
        self.tokens: Bucket | None = None
        self.spent_usd = 0.0
        self.claimed_usd = 0.0

    def follow(self, tenant: Tenant, now_s: float) -> None:
        """Take over limits that were changed."""
        self.requests = _resized(self.requests, tenant.requests_per_minute, now_s)
        self.tokens = _resized(self.tokens, tenant.tokens_per_minute, now_s)


class Limits:
    """Admits requests of tenants, each by its own limits.

    Rates are counted in this process. Money is what the database knows of the month, and what
    this process has admitted since, so a budget is overdrawn by what is under way at most.

    Args:
        clock: Monotonic seconds.
        now: UTC.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._meters: dict[str, _Meter] = {}
        self._month = ""
        self._month_ends: datetime | None = None
        self._clock = clock
        self._now = now

    def admit(self, tenant: Tenant, tokens: float, cost_usd: float) -> Claim:
        """Claim what a request is expected to use.

        Raises:
            ApiError: 429 with the time to wait.
        """
        now_s = self._clock()
        meter = self._meter(tenant, now_s)
        self._check_budget(tenant, meter)
        for bucket, amount, what in (
            (meter.requests, 1.0, "requests"),
            (meter.tokens, tokens, "tokens"),
        ):
            if bucket is not None and (wait_s := bucket.wait_s(amount, now_s)):
                raise _too_fast(tenant, what, bucket.per_minute, wait_s)
        if meter.requests is not None:
            meter.requests.take(1)
        if meter.tokens is not None:
            meter.tokens.take(tokens)
        meter.claimed_usd += cost_usd
        return Claim(tenant.tenant_id, tokens, cost_usd)

    def settle(self, claim: Claim, tokens: float, cost_usd: float) -> None:
        """Replace what a request was expected to use by what it used."""
        meter = self._meters.get(claim.tenant_id)
        if meter is None:
            return
        meter.claimed_usd = max(0.0, meter.claimed_usd - claim.cost_usd)
        meter.spent_usd += cost_usd
        if meter.tokens is not None:
            meter.tokens.take(tokens - claim.tokens)

    def learn(self, month: str, spent_usd: Mapping[str, float]) -> None:
        """Take over what the database knows: this process's own records come there later.

        Args:
            month: First day of the month that was added up, ISO format.
            spent_usd: By tenant id.
        """
        if month != self._month:
            self._month = month
            for meter in self._meters.values():
                meter.spent_usd = 0.0
        for tenant_id, spent in spent_usd.items():
            meter = self._meters.setdefault(tenant_id, _Meter())
            meter.spent_usd = max(meter.spent_usd, spent)

    def _meter(self, tenant: Tenant, now_s: float) -> _Meter:
        meter = self._meters.setdefault(tenant.tenant_id, _Meter())
        meter.follow(tenant, now_s)
        return meter

    def _check_budget(self, tenant: Tenant, meter: _Meter) -> None:
        budget_usd = tenant.budget_usd_per_month
        if budget_usd is None:
            return
        now = self._now()
        if self._month_ends is None or now >= self._month_ends:
            self.learn(first_of_month(now), {})
            self._month_ends = next_month(now)
        if meter.spent_usd + meter.claimed_usd >= budget_usd:
            wait_s = math.ceil((next_month(now) - now).total_seconds())
            raise ApiError(
                429,
                f"The budget of ${budget_usd:g} for this month is used up.",
                kind="insufficient_quota",
                code="insufficient_quota",
                retry_after_s=wait_s,
            )


def _resized(bucket: Bucket | None, per_minute: int | None, now_s: float) -> Bucket | None:
    if per_minute is None:
        return None
    if bucket is not None and bucket.per_minute == per_minute:
        return bucket
    return Bucket(per_minute, now_s)


def _too_fast(tenant: Tenant, what: str, per_minute: float, wait_s: float) -> ApiError:
    return ApiError(
        429,
        f"Tenant {tenant.name!r} may use {per_minute:g} {what} per minute.",
        kind=RATE,
        code="rate_limit_exceeded",
        retry_after_s=math.ceil(wait_s),
    )
