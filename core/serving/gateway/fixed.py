"""A fleet that somebody else runs: a plan from a file, replicas found by DNS.

A headless Kubernetes service names every ready pod, so each is a replica of its own here.
"""

import json
import logging
import socket
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.domain.deployment import SERVING, Replica, ReplicaState
from core.domain.ids import utc_now
from core.domain.plan import ReplicaKind
from core.errors import InvalidInput
from core.scenario.plans import plan_of
from core.scenario.schema import PlanSection

log = logging.getLogger(__name__)


class _Service(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    model: str
    sku: str
    tp: int = Field(1, ge=1)
    pp: int = Field(1, ge=1)
    host: str = Field(min_length=1)
    port: int = Field(ge=1, le=65535)

    @property
    def kind(self) -> ReplicaKind:
        return ReplicaKind(self.model, self.sku, self.tp, self.pp)


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    plan: PlanSection
    services: tuple[_Service, ...] = Field(min_length=1)


class FixedFleet:
    """The plan, and where its replicas are now.

    Args:
        path: What `core.serving.kubernetes.plan_document` made, as JSON.

    Raises:
        InvalidInput: It cannot be read, or is something else.
    """

    def __init__(self, path: Path) -> None:
        try:
            document = _Document.model_validate(json.loads(path.read_bytes()))
        except (OSError, ValueError, ValidationError) as error:
            raise InvalidInput(
                f"The plan file {path} cannot be used: {error}",
                "`boute export kubernetes` writes it; see BOUTE_PLAN_FILE.",
            ) from error
        self.plan = plan_of(document.plan)
        self._services = document.services
        self._since = utc_now()

    def replicas(self) -> list[Replica]:
        """Return every replica that DNS names now; asks DNS, so it may take a while."""
        return [
            self._replica(service, address)
            for service in self._services
            for address in _addresses(service.host, service.port)
        ]

    def _replica(self, service: _Service, address: str) -> Replica:
        return Replica(
            replica_id=f"{service.host}@{address}",
            owner=SERVING,
            kind=service.kind,
            wanted=True,
            state=ReplicaState.READY,
            created_at=self._since,
            host=address,
            port=service.port,
        )


def _addresses(host: str, port: int) -> list[str]:
    """Addresses of a name; none while nothing behind it is ready."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        log.debug("%s is not known: %s", host, error)
        return []
    return sorted({str(address[0]) for *_, address in found})
