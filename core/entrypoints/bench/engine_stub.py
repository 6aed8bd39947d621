"""A process that behaves like a vLLM server, without a model: for switches and kills by the dozen.

It is ready some time after its start, lists one model, tells how many requests it runs, and has an
engine process that outlives a killed server and takes the server with it when it dies, as vLLM's
does. Answers are paced as in `gateway_stub`.
"""

import argparse
import asyncio
import json
import os
import time
from dataclasses import dataclass

import uvloop

from core.entrypoints.bench.gateway_stub import HEAD, Connection, Pace


@dataclass
class Engine:
    """What all connections of the server share.

    Attributes:
        name: Of the model.
        ready_at_s: When it begins to answer, monotonic seconds.
        running: Requests it computes now.
    """

    name: str
    pace: Pace
    ready_at_s: float
    running: int = 0

    def told(self, path: bytes) -> bytes:
        """Return the answer to a GET."""
        if time.monotonic() < self.ready_at_s:
            return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
        models = {"data": [{"id": self.name, "object": "model"}]}
        bodies = {
            b"/v1/models": json.dumps(models).encode(),
            b"/metrics": b'vllm:num_requests_running{engine="0"} %d.0\n' % self.running,
        }
        body = bodies.get(path, b"")
        return HEAD % b"application/json" + b"Content-Length: %d\r\n\r\n" % len(body) + body


class CountedConnection(Connection):
    """One connection whose requests are counted while they run."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.pace)
        self._engine = engine
        self._runs = False

    def connection_lost(self, error: Exception | None) -> None:
        """Stop what is under way."""
        super().connection_lost(error)
        self._ended()

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET"):
            self._write(self._engine.told(head.split(b" ", 2)[1]))
            return
        self._engine.running += 1
        self._runs = True
        super()._answer(head, body)

    def _write(self, content: bytes) -> None:
        super()._write(content)
        pace = self._engine.pace
        if content in (pace.whole, pace.end, pace.end_with_usage):
            self._ended()

    def _ended(self) -> None:
        if self._runs:
            self._runs = False
            self._engine.running -= 1


async def _serve(port: int, engine: Engine) -> None:
    # Without its environment, as after vLLM wrote a process title over it.
    alone = {"PATH": os.environ["PATH"]}
    worker = await asyncio.create_subprocess_exec("sleep", "1000000", env=alone)
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: CountedConnection(engine), "127.0.0.1", port)
    await worker.wait()
    print("EngineDeadError: EngineCore encountered an issue", flush=True)
    os._exit(1)


def main() -> None:
    """Serve until killed, or until the engine process dies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--ready-s", type=float, default=1.0)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--first-ms", type=float, default=50.0)
    parser.add_argument("--gap-ms", type=float, default=50.0)
    given = parser.parse_args()
    pace = Pace(given.tokens, given.first_ms, given.gap_ms)
    uvloop.run(_serve(given.port, Engine(given.name, pace, time.monotonic() + given.ready_s)))


if __name__ == "__main__":
    main()
