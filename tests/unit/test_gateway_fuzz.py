"""Whatever is posted to the gateway, it never fails by itself."""

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.migrate import upgrade
from db.unit_of_work import disconnect, uow_factory
from tests.fakes.gateway_world import running_gateway, seed_classifier, seed_plan
from tests.fakes.scripted_engine import ScriptedEngine

PATHS = ("/v1/chat/completions", "/v1/completions")

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "system", "assistant"]) | VALUES},
    optional={"content": st.text(max_size=40) | VALUES},
)
NEARLY_RIGHT = st.fixed_dictionaries(
    {"model": st.sampled_from(["auto", "small", "large", "other"]) | VALUES},
    optional={
        "messages": st.lists(MESSAGE, max_size=3) | VALUES,
        "prompt": st.text(max_size=40) | VALUES,
        "stream": st.booleans() | VALUES,
        "stream_options": st.fixed_dictionaries({}, optional={"include_usage": SCALARS}) | VALUES,
        "max_tokens": VALUES,
    },
)
BODIES = st.binary(max_size=60) | (NEARLY_RIGHT | VALUES).map(lambda v: json.dumps(v).encode())


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """One gateway for all examples, in a thread with an event loop of its own."""
    folder: Path = tmp_path_factory.mktemp("fuzz")
    url = f"sqlite:///{folder / 'boute.db'}"
    upgrade(url)
    uow = uow_factory(url)
    up, stop = threading.Event(), threading.Event()
    found: list[int] = []

    async def serve() -> None:
        async with ScriptedEngine() as small, ScriptedEngine() as large:
            seed_classifier(uow)
            seed_plan(uow, {"small": [small.port], "large": [large.port]})
            async with running_gateway(uow) as gateway:
                found.append(int(gateway.url.rsplit(":", 1)[1]))
                up.set()
                await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert up.wait(60)
    yield found[0]
    stop.set()
    thread.join(60)
    disconnect(url)


def post(port: int, path: str, body: bytes) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.headers.get_content_type(), answer.read()
    finally:
        connection.close()


def check(status: int, content_type: str, content: bytes) -> None:
    assert status in {200, 400, 404}, content
    if status != 200:
        error: dict[str, Any] = json.loads(content)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
    elif content_type == "text/event-stream":
        assert content.endswith(b"data: [DONE]\n\n")
    else:
        assert json.loads(content)["usage"]


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(path=st.sampled_from(PATHS), body=BODIES)
def test_any_body_gets_an_answer(port: int, path: str, body: bytes) -> None:
    check(*post(port, path, body))


def test_every_thread_of_callers_is_served(port: int) -> None:
    body = json.dumps({"model": "auto", "prompt": "1 + 1?", "stream": True}).encode()
    statuses: list[int] = []

    def caller() -> None:
        statuses.extend(post(port, PATHS[1], body)[0] for _ in range(10))

    threads = [threading.Thread(target=caller) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert statuses == [200] * 100
