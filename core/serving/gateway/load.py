"""Which replicas are busy and which did not answer lately."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from core.domain.deployment import Replica

SUSPECT_S = 3.0


class Load:
    """Requests in flight per replica, and replicas that just refused a connection.

    A dead replica has nothing in flight, so it would attract every request until the next look
    at the database; being a suspect for a moment keeps it out of the choice.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._in_flight: Counter[str] = Counter()
        self._suspect_until_s: dict[str, float] = {}
        self._clock = clock

    @property
    def outstanding(self) -> Mapping[str, int]:
        """Requests in flight by replica id; idle ones are left out."""
        return self._in_flight

    @contextmanager
    def on(self, replica: Replica) -> Iterator[None]:
        """Count a request for as long as the replica works on it."""
        key = replica.replica_id
        self._in_flight[key] += 1
        try:
            yield
        finally:
            self._in_flight[key] -= 1
            if self._in_flight[key] <= 0:
                del self._in_flight[key]

    def suspect(self, replica: Replica) -> None:
        """Leave a replica out for a moment."""
        self._suspect_until_s[replica.replica_id] = self._clock() + SUSPECT_S

    def preferred(self, replicas: Iterable[Replica]) -> list[Replica]:
        """Return the replicas that are no suspects, or all when there is no other."""
        now_s = self._clock()
        for key in [k for k, until_s in self._suspect_until_s.items() if until_s <= now_s]:
            del self._suspect_until_s[key]
        known = list(replicas)
        return [r for r in known if r.replica_id not in self._suspect_until_s] or known
