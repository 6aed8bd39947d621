"""A GPU is free only when the driver has taken the memory back."""

import logging
from collections.abc import Sequence

import pytest

from core.domain.deployment import Replica, ReplicaState
from core.domain.fleet import DeviceKind
from core.domain.plan import ReplicaKind
from core.errors import EngineFailed
from core.serving.endings import Endings
from tests.fakes.serving_world import START, FakeLauncher, FakeProbe, InlineExecutor, SteppedClock


class SlowDriver(FakeProbe):
    """Gives memory back bit by bit, a step per look."""

    def __init__(self, readings_gib: list[int]) -> None:
        super().__init__(1, SteppedClock(), DeviceKind.CUDA)
        self.readings_gib = readings_gib

    def used_memory_bytes(self, device_ids: Sequence[str]) -> dict[str, int]:
        used = self.readings_gib.pop(0) * 2**30
        return dict.fromkeys(device_ids, used)


class BrokenLauncher(FakeLauncher):
    def stop(self, replica: Replica) -> None:
        raise EngineFailed("It cannot be killed.")


def replica_on(probe: FakeProbe) -> Replica:
    ids = tuple(d.device_id for d in probe.found)
    kind = ReplicaKind("small", probe.found[0].sku)
    return Replica("r", "deployment", kind, True, ReplicaState.READY, START, device_ids=ids)


def test_an_ending_waits_until_the_memory_is_back() -> None:
    probe = SlowDriver([79, 40, 2])
    endings = Endings(FakeLauncher(), probe, InlineExecutor())
    replica = replica_on(probe)
    endings.begin(replica, ReplicaState.STOPPED, "", probe.found)
    assert "r" in endings
    (gone,) = endings.finished()
    assert gone.replica == replica
    assert probe.readings_gib == []
    assert "r" not in endings


def test_a_server_that_cannot_be_stopped_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    probe = SlowDriver([0])
    endings = Endings(BrokenLauncher(), probe, InlineExecutor())
    with caplog.at_level(logging.ERROR):
        endings.begin(replica_on(probe), ReplicaState.STOPPED, "", probe.found)
        assert list(endings.finished()) == []
    assert "could not be stopped" in caplog.text
    assert "r" not in endings  # so that the next round may begin anew
