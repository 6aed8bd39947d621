"""Tenants and their API keys: who may use the gateway, how much, and how good it must be."""

import hashlib
import secrets
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

KEY_PREFIX = "boute-"
HINT_CHARS = 4


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who pays for requests, and the limits set for them; None means no limit.

    Attributes:
        name: For people; no two tenants have the same.
        requests_per_minute: Requests admitted per minute, by each gateway process.
        tokens_per_minute: Prompt and answer tokens per minute, by each gateway process.
        budget_usd_per_month: Cost of the tenant's answers per UTC calendar month, $.
        quality_floor: Least quality (lower bound, 0..1) of the model that answers an `auto`
            request, in the request's class.
        enabled: False turns all its keys away.
    """

    tenant_id: str
    name: str
    created_at: datetime
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    budget_usd_per_month: float | None = None
    quality_floor: float | None = None
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of a tenant; the secret itself is kept nowhere.

    Attributes:
        name: For people.
        digest: SHA-256 of the secret, hexadecimal.
        hint: Last characters of the secret, to tell keys apart.
        revoked_at: When it stopped working (UTC); None while it works.
    """

    key_id: str
    tenant_id: str
    name: str
    digest: str
    hint: str
    created_at: datetime
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What one key used of one model on one UTC day.

    Attributes:
        day: UTC day, ISO format.
        tenant_id: Empty for requests without a key.
        key_id: Empty for requests without a key.
        requests: Answered requests.
        input_tokens: Prompt tokens of these, and of answers that a cascade threw away.
        output_tokens: Answer tokens of the same.
        cost_usd: Cost of the answers, of those that were cut short or thrown away too.
    """

    day: str
    tenant_id: str
    key_id: str
    model: str
    requests: int
    input_tokens: int
    output_tokens: int
    cost_usd: float

    def plus(self, other: "Usage") -> "Usage":
        """Return the sum of both, which are of the same day, key and model."""
        return replace(
            self,
            requests=self.requests + other.requests,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost_usd=self.cost_usd + other.cost_usd,
        )


def new_secret() -> str:
    """Return a fresh secret of 256 random bits, such as `boute-3kTq...`."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def digest_of(secret: str) -> str:
    """Return what is stored instead of a secret.

    A plain hash is enough: nobody can try out 256 random bits, unlike a password.
    """
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def hint_of(secret: str) -> str:
    """Return the end of a secret."""
    return secret[-HINT_CHARS:]


def utc_day(at: datetime) -> str:
    """Return the UTC day of a moment, ISO format."""
    return at.astimezone(UTC).date().isoformat()


def first_of_month(at: datetime) -> str:
    """Return the first UTC day of a moment's month, ISO format."""
    return at.astimezone(UTC).date().replace(day=1).isoformat()


def next_month(at: datetime) -> datetime:
    """Return when the next UTC month begins."""
    first = at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)
