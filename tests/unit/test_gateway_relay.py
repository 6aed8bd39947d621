"""What passes through, what is tried again, what is too late; odd replicas over raw sockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest

from core.domain.ids import utc_now
from core.ports import UnitOfWorkFactory
from core.serving.gateway.breaker import FAILURES
from core.serving.gateway.retention import Retention
from core.serving.gateway.trace import Trace
from core.serving.gateway.upstream import Connections, Unreachable
from tests.contract import samples
from tests.fakes.gateway_world import ready, running_gateway, seed_plan
from tests.fakes.scripted_engine import ScriptedEngine

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n"


async def test_tools_and_logprobs_pass_unchanged(memory_uow: UnitOfWorkFactory) -> None:
    fields = {
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"é": [1.5]}}}],
        "tool_choice": "auto",
        "logprobs": True,
        "top_logprobs": 5,
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "2 + 2?"}]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "type": "x"}]},
            {"role": "tool", "tool_call_id": "a", "content": "4"},
        ],
    }
    async with ScriptedEngine() as engine:
        seed_plan(memory_uow, {"small": [engine.port]})
        opened = running_gateway(memory_uow)
        async with opened as gateway, gateway.ask(model="small", **fields) as answer:
            assert answer.status == 200
        [seen] = engine.seen
    assert seen == {"model": "small", **fields}


@pytest.mark.parametrize("status", [500, 502, 503])
async def test_another_replica_is_asked_when_one_fails(
    memory_uow: UnitOfWorkFactory, status: int
) -> None:
    async with ScriptedEngine() as bad, ScriptedEngine() as good:
        bad.status = status
        seed_plan(memory_uow, {"small": [bad.port, good.port]})
        async with running_gateway(memory_uow) as gateway:
            for _ in range(6):
                async with gateway.ask(model="small") as answer:
                    assert answer.status == 200
                    assert len((await answer.json())["choices"]) == 1
            records = await gateway.records()
    assert [record.status for record in records] == [200] * 6
    assert 1 <= len(bad.seen) <= 6
    # A 500 may be the request's own doing, so it opens no circuit; three of the others do.
    assert status == 500 or len(bad.seen) <= FAILURES


async def test_a_lonely_replicas_error_is_passed_on(memory_uow: UnitOfWorkFactory) -> None:
    async with ScriptedEngine() as engine:
        engine.status = 503
        seed_plan(memory_uow, {"small": [engine.port]})
        opened = running_gateway(memory_uow)
        async with opened as gateway, gateway.ask(model="small") as answer:
            assert answer.status == 503
            assert (await answer.json())["error"]["message"] == "scripted"


async def test_an_answer_that_takes_too_long(memory_uow: UnitOfWorkFactory) -> None:
    async with ScriptedEngine() as engine:
        engine.hold.clear()
        seed_plan(memory_uow, {"small": [engine.port]})
        async with running_gateway(memory_uow, request_time_limit_s=0.2) as gateway:
            async with gateway.ask(model="small") as answer:
                assert answer.status == 504
                assert (await answer.json())["error"]["code"] == "time_limit"
            async with gateway.ask(model="small", stream=True) as answer:
                *said, last, _ = (await answer.read()).split(b"\n\n")
            assert len(said) == 1
            assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == 504
            records = await gateway.records()
        assert [record.status for record in records] == [504, 504]
        assert engine.stopped_early == 2


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[int]:
    """A server on a port of its own; every connection is closed in the end."""
    tasks: list[asyncio.Task[None]] = []

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def begun(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.create_task(closing(reader, writer)))

    server = await asyncio.start_server(begun, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def answering(*parts: bytes, close: bool = False) -> AsyncIterator[int]:
    """A server that sends fixed bytes to whatever comes; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
            if close:
                break

    async with listening(serve) as port:
        yield port


async def fetched(connections: Connections, port: int) -> tuple[int, bytes]:
    connection = await connections.open(ready("small", port, utc_now()))
    try:
        connection.send(HEAD, b"{}")
        await connection.head()
        return connection.status, await connection.body()
    finally:
        connections.give_back(connection)


@pytest.fixture
def connections() -> Connections:
    return Connections()


@pytest.mark.parametrize(
    ("parts", "close", "body"),
    [
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"], False, b"abc"),
        ([b"HTTP/1.1 200 OK\r\nContent-Le", b"ngth: 3\r\n\r\na", b"bc"], False, b"abc"),
        (
            [
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
                b"1\r\nc\r\n0\r\n\r\n",
            ],
            False,
            b"abc",
        ),
        ([b"HTTP/1.1 200 OK\r\n\r\nab", b"c"], True, b"abc"),
        (
            [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"],
            False,
            b"abc",
        ),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], False, b""),
    ],
)
async def test_bodies_of_every_kind(
    connections: Connections, parts: list[bytes], close: bool, body: bytes
) -> None:
    async with answering(*parts, close=close) as port:
        for _ in range(2):
            assert (await fetched(connections, port))[1] == body
    connections.close()


@pytest.mark.parametrize(
    "parts",
    [
        [b"SSH-2.0-OpenSSH\r\n"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
        [b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000],
        [b""],
    ],
)
async def test_answers_that_are_none(connections: Connections, parts: list[bytes]) -> None:
    async with answering(*parts, close=True) as port:
        with pytest.raises(Unreachable):
            await fetched(connections, port)
    connections.close()


async def test_a_slow_reader_stops_the_flow(connections: Connections) -> None:
    size = 8 * 1024**2
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.read(65536)
        writer.write(head)
        for _ in range(size // 65536):
            writer.write(b"x" * 65536)
            await writer.drain()
            sent += 65536

    async with listening(serve) as port:
        connection = await connections.open(ready("small", port, utc_now()))
        connection.send(HEAD, b"{}")
        await connection.head()
        for _ in range(200):
            await asyncio.sleep(0.001)
        assert sent < size
        assert len(await connection.body()) == size
        connections.give_back(connection)
        connections.close()


def test_names_that_headers_cannot_hold_are_encoded() -> None:
    trace = Trace(query_class="Ma\r\nX: é", model="small", request_id="r")
    assert trace.headers == {
        "X-BOute-Class": "Ma%0D%0AX%3A%20%C3%A9",
        "X-BOute-Model": "small",
        "X-BOute-Request-Id": "r",
    }


async def test_nobody_listens(connections: Connections) -> None:
    with pytest.raises(Unreachable) as caught:
        await connections.open(ready("small", 9, utc_now()))
    assert caught.value.refused


async def test_old_records_go(memory_uow: UnitOfWorkFactory) -> None:
    with memory_uow() as work:
        now = utc_now()
        work.requests.add([samples.request("old", at=now - timedelta(days=8))])
        work.requests.add([samples.request("new", at=now - timedelta(days=6))])
        work.commit()
    assert await Retention(memory_uow, days=7).prune() == 1
    with memory_uow() as work:
        assert [record.request_id for record in work.requests.latest()] == ["new"]
        assert sum(day.requests for day in work.requests.totals_by_day()) == 2
