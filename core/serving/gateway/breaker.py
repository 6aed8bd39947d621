"""A circuit breaker per replica: who fails is left alone for a while, then tried again."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from core.domain.deployment import Replica

FAILURES = 3
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0


@dataclass(slots=True)
class _Circuit:
    """Trouble with one replica.

    Attributes:
        failures: In a row.
        pause_s: How long it is left alone after the next failure.
        open_until_s: When it may be tried again; None while it may be used.
        trying: Whether one request is trying it just now.
    """

    failures: int = 0
    pause_s: float = FIRST_PAUSE_S
    open_until_s: float | None = None
    trying: bool = False


Key = tuple[str, int | None, int]


class Breaker:
    """Knows which replicas may be asked.

    Three failures in a row open a circuit, a refused connection does at once: a dead replica has
    nothing to do and would attract every request. After a pause one request tries it; success
    closes the circuit, failure doubles the pause.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._circuits: dict[Key, _Circuit] = {}
        self._clock = clock

    @property
    def open(self) -> int:
        """Replicas that are left alone."""
        return sum(c.open_until_s is not None for c in self._circuits.values())

    def allows(self, replica: Replica) -> bool:
        """Whether a request may go to a replica now."""
        circuit = self._circuits.get(_key(replica))
        if circuit is None or circuit.open_until_s is None:
            return True
        return not circuit.trying and self._clock() >= circuit.open_until_s

    def begun(self, replica: Replica) -> None:
        """A request goes to a replica that `allows` it."""
        circuit = self._circuits.get(_key(replica))
        if circuit is not None and circuit.open_until_s is not None:
            circuit.trying = True

    def ended(self, replica: Replica) -> None:
        """A request ended without saying anything about the replica: its caller left."""
        circuit = self._circuits.get(_key(replica))
        if circuit is not None:
            circuit.trying = False

    def succeeded(self, replica: Replica) -> None:
        """The replica answered."""
        if self._circuits:
            self._circuits.pop(_key(replica), None)

    def failed(self, replica: Replica, *, refused: bool) -> None:
        """The replica did not answer.

        Args:
            refused: It did not even take the connection.
        """
        circuit = self._circuits.setdefault(_key(replica), _Circuit())
        circuit.failures += 1
        if refused or circuit.trying or circuit.failures >= FAILURES:
            circuit.open_until_s = self._clock() + circuit.pause_s
            circuit.pause_s = min(2 * circuit.pause_s, LONGEST_PAUSE_S)
        circuit.trying = False

    def keep_only(self, replicas: Collection[Replica]) -> None:
        """Forget replicas that are gone."""
        if self._circuits:
            known = {_key(replica) for replica in replicas}
            self._circuits = {k: c for k, c in self._circuits.items() if k in known}


def _key(replica: Replica) -> Key:
    """A replica that was started again is another one."""
    return (replica.replica_id, replica.port, replica.restarts)
