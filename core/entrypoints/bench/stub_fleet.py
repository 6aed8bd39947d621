"""The controller over a fleet of made-up devices whose servers are `engine_stub` processes.

Everything else of it is what `boute controller` runs: the reconcile loop, the launcher with its
process groups, the ledger, the database.
"""

import logging
import sys
from collections.abc import Sequence
from dataclasses import replace

from core.domain.catalog import ModelSpec
from core.domain.deployment import Replica
from core.domain.fleet import Device, DeviceKind
from core.domain.ids import utc_now
from core.entrypoints import controller
from core.serving.command_line import MARKER, ServerCommand
from core.serving.launcher import LocalLauncher
from core.settings import load_settings

SKU = "stub"
NODE = "stub"
TOKENS = 40
# Beyond any real core: a server on them is not confined.
FIRST_INDEX = 1000


class StubProbe:
    """Shows so many devices; see `GpuProbe`."""

    def __init__(self, count: int) -> None:
        self._devices = [
            Device(
                device_id=f"{NODE}/{number}",
                node=NODE,
                index=FIRST_INDEX + number,
                sku=SKU,
                kind=DeviceKind.CPU,
                memory_total_bytes=80 * 2**30,
                memory_used_bytes=0,
                utilisation=None,
                power_w=None,
                seen_at=utc_now(),
            )
            for number in range(count)
        ]

    def devices(self) -> list[Device]:
        """Return every device."""
        return [replace(device, seen_at=utc_now()) for device in self._devices]

    def used_memory_bytes(self, device_ids: Sequence[str]) -> dict[str, int]:
        """Return that nobody uses memory."""
        return dict.fromkeys(device_ids, 0)


def stub_command(replica: Replica, model: ModelSpec, _: Sequence[Device]) -> ServerCommand:
    """Return how to start a stub in place of vLLM."""
    arguments = (sys.executable, "-m", "core.entrypoints.bench.engine_stub")
    options = ("--port", str(replica.port), "--name", model.name, "--tokens", str(TOKENS))
    return ServerCommand((*arguments, *options), {MARKER: replica.replica_id})


def main() -> None:
    """Run the controller with as many devices as the argument says."""
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=form)
    settings = load_settings()
    launcher = LocalLauncher(settings, stub_command)
    sys.exit(controller.run(settings, StubProbe(int(sys.argv[1])), launcher))


if __name__ == "__main__":
    main()
