"""TCP ports for replicas."""

import socket
from collections.abc import Collection

from core.errors import EnvironmentFailed

PORTS_TRIED = 1000


def free_port(host: str, first: int, taken: Collection[int]) -> int:
    """Return the first port from `first` on that nobody holds or listens on.

    Raises:
        EnvironmentFailed: A thousand ports in a row are in use.
    """
    last = min(first + PORTS_TRIED, 65536)
    for port in range(first, last):
        if port not in taken and _can_listen(host, port):
            return port
    raise EnvironmentFailed(
        f"No port from {first} to {last - 1} is free for a model server.",
        "Set BOUTE_REPLICA_PORTS_FROM to another range.",
    )


def _can_listen(host: str, port: int) -> bool:
    with socket.socket() as probe:
        # As the server does itself: a port in TIME_WAIT is free, one with a listener is not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
