"""The gateway as a process: its port, its signals, its last records."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from core.entrypoints import gateway
from core.errors import EnvironmentFailed
from core.ports import UnitOfWorkFactory
from core.settings import Settings


def test_a_taken_port_is_said_clearly(sqlite_url: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(home=tmp_path, database_url=sqlite_url, gateway_port=port)
        with pytest.raises(EnvironmentFailed) as caught:
            gateway.run(settings)
    assert str(port) in caught.value.message
    assert "BOUTE_GATEWAY_PORT" in caught.value.hint


def test_sigterm_writes_the_last_records(
    sqlite_url: str, sqlite_uow: UnitOfWorkFactory, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = Settings(home=tmp_path, database_url=sqlite_url, gateway_port=port)
    process = subprocess.Popen(
        [sys.executable, "-m", "core.entrypoints.cli", "gateway"],
        env={**os.environ, **settings.environment},
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            wait_until_up(port)
            assert post(port) == 503
            process.send_signal(signal.SIGTERM)
            said, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert f"http://127.0.0.1:{port}/v1" in said
    with sqlite_uow() as work:
        assert [record.status for record in work.requests.latest()] == [503]


def test_the_process_loads_nothing_heavy() -> None:
    """Numba, which classification is compiled with, and scipy, which it loads, are the most."""
    heavy = ("torch", "pyarrow", "sklearn", "pandas", "streamlit", "vllm", "botorch")
    code = (
        "import sys, core.entrypoints.gateway; "
        "print([m for m in sys.argv[1:] if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, *heavy]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


def wait_until_up(port: int) -> None:
    for _ in range(600):
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5),
        ):
            return
        time.sleep(0.1)
    raise AssertionError("the gateway did not come up")


def post(port: int) -> int:
    body = {"model": "auto", "messages": [{"role": "user", "content": "2 + 2?"}]}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=30)
    with caught.value as answer:
        return answer.code
