"""Who is busy, and who did not answer."""

from core.domain.deployment import SERVING, Replica, ReplicaState
from core.domain.ids import utc_now
from core.domain.plan import ReplicaKind
from core.serving.gateway.load import SUSPECT_S, Load


def replica(name: str) -> Replica:
    kind = ReplicaKind("small", "cpu-core")
    return Replica(name, SERVING, kind, True, ReplicaState.READY, utc_now())


def test_counts_what_is_in_flight() -> None:
    load, one = Load(), replica("one")
    with load.on(one), load.on(one):
        assert load.outstanding["one"] == 2
    assert dict(load.outstanding) == {}


def test_a_suspect_is_left_out_for_a_moment() -> None:
    now_s = 100.0
    load = Load(clock=lambda: now_s)
    one, two = replica("one"), replica("two")
    load.suspect(one)
    assert load.preferred([one, two]) == [two]
    assert load.preferred([one]) == [one]
    now_s += SUSPECT_S
    assert load.preferred([one, two]) == [one, two]
