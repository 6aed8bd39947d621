"""Who asks: from the Authorization header to a tenant."""

from collections.abc import Mapping
from dataclasses import dataclass

from core.domain.tenant import ApiKey, Tenant, digest_of
from core.serving.gateway.errors import ApiError

BEARER = "bearer "
LONGEST_SECRET = 256


@dataclass(frozen=True, slots=True)
class Caller:
    """The owner of a working key.

    Attributes:
        key_id: The key.
        key_name: For people.
    """

    key_id: str
    key_name: str
    tenant: Tenant


Callers = Mapping[str, Caller]
"""Working keys by digest."""


def callers_of(tenants: list[Tenant], keys: list[ApiKey]) -> dict[str, Caller]:
    """Return who may come in."""
    by_id = {tenant.tenant_id: tenant for tenant in tenants if tenant.enabled}
    return {
        key.digest: Caller(key.key_id, key.name, by_id[key.tenant_id])
        for key in keys
        if key.revoked_at is None and key.tenant_id in by_id
    }


class Access:
    """Lets callers in.

    Args:
        required: Whether a key is needed. Where it is not, a known key still says whose request
            it is, and others are ignored: clients insist on sending one.
    """

    def __init__(self, *, required: bool) -> None:
        self.required = required

    def caller(self, authorization: str, known: Callers) -> Caller | None:
        """Return whose request it is; None for nobody's.

        Args:
            authorization: The header, or "".

        Raises:
            ApiError: 401, a key is needed and this is none that works.
        """
        secret = ""
        if authorization[: len(BEARER)].lower() == BEARER:
            secret = authorization[len(BEARER) :].strip()
        if secret and len(secret) <= LONGEST_SECRET:
            found = known.get(digest_of(secret))
            if found is not None:
                return found
        if self.required:
            raise unauthorized(bool(secret))
        return None


def unauthorized(given: bool) -> ApiError:
    """Return the error for a caller without a working key."""
    message = (
        "This API key does not work: it may have been revoked."
        if given
        else "Send a BOute API key: 'Authorization: Bearer boute-...'."
    )
    return ApiError(401, message, kind="authentication_error", code="invalid_api_key")
