"""Connections to replicas: as much HTTP/1.1 as a model server needs, and nothing to wait for.

A general HTTP client costs more time per request than everything else the gateway does; this one
sends one kind of request and leaves the parsing to httptools.
"""

import asyncio
import time
from collections import defaultdict
from typing import cast

import httptools

from core.domain.deployment import Replica

CONNECT_S = 5.0
# Shorter than the 5 s after which a vLLM server closes an idle connection: a request hardly ever
# meets a connection that is being closed.
KEEP_ALIVE_S = 3.0
MOST_BUFFERED_BYTES = 256 * 1024
LARGEST_HEAD_BYTES = 64 * 1024
EVENT_STREAM = "text/event-stream"

Address = tuple[str, int]


class Unreachable(Exception):
    """The replica gave no answer, or only a part of one.

    Args:
        refused: Nobody listens there: asking the very same replica again is useless.
    """

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.refused = refused


class Connection(asyncio.Protocol):
    """One connection to a replica, for one request at a time.

    Attributes:
        idle_since_s: When the last answer ended, monotonic seconds.
        status: HTTP status of the answer, once `head` returned.
        headers: Its headers, by name in small letters.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.idle_since_s = 0.0
        self.status = 0
        self.headers: dict[str, str] = {}
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._start_over()

    def _start_over(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.headers = {}
        self._parts: list[bytes] = []
        self._buffered = self._head_bytes = 0
        self._paused = self._has_head = self._complete = False
        self._problem: Unreachable | None = None

    @property
    def reusable(self) -> bool:
        """Whether the next request may go over it."""
        transport = self._transport
        return transport is not None and self._complete and not transport.is_closing()

    def send(self, head: bytes, body: bytes) -> None:
        """Send a request; the last answer must have been read to its end."""
        self._start_over()
        if self._transport is None or self._transport.is_closing():
            self._problem = Unreachable("the connection was closed")
            return
        self._transport.write(head + body)

    async def head(self) -> None:
        """Wait for status and headers.

        Raises:
            Unreachable: None came.
        """
        while not self._has_head:
            await self._wait()

    async def chunk(self) -> bytes:
        """Return what came of the body since the last call; empty at its end.

        Raises:
            Unreachable: The connection broke.
        """
        while not self._parts:
            if self._complete:
                return b""
            await self._wait()
        parts, self._parts, self._buffered = self._parts, [], 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def body(self) -> bytes:
        """Return the whole body.

        Raises:
            Unreachable: The connection broke.
        """
        parts = []
        while part := await self.chunk():
            parts.append(part)
        return b"".join(parts)

    def abort(self) -> None:
        """Close at once; a model server stops generating then."""
        if self._transport is not None:
            self._transport.abort()

    async def _wait(self) -> None:
        if self._problem is not None:
            raise self._problem
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self._problem is not None and not self._parts:
            raise self._problem

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, reason: str) -> None:
        if not self._complete and self._problem is None:
            self._problem = Unreachable(reason)
        self._wake()

    # asyncio calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Hand bytes to the parser; what is not HTTP ends the connection."""
        if self._complete:  # nobody asked
            self.abort()
            return
        if not self._has_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("the answer is not HTTP")
            self.abort()
        if not self._has_head and self._head_bytes > LARGEST_HEAD_BYTES:
            self._fail("the headers do not end")
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """End what is under way; a body without a length ends so too."""
        self._transport = None
        until_close = self._has_head and not (
            "content-length" in self.headers or "transfer-encoding" in self.headers
        )
        if until_close and error is None:
            self._complete = True
        self._fail("the connection was closed")

    # httptools calls these.

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Let `head` return; an interim answer (1xx) is not one."""
        self.status = self._parser.get_status_code()
        if self.status >= 200:
            self._has_head = True
            self._wake()
        else:
            self.headers = {}

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body; stop reading while too much waits."""
        self._parts.append(body)
        self._buffered += len(body)
        if self._buffered > MOST_BUFFERED_BYTES and not self._paused and self._transport:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        """Let the answer end."""
        if not self._has_head:
            return
        self._complete = True
        self.idle_since_s = time.monotonic()
        if not self._parser.should_keep_alive() and self._transport is not None:
            self._transport.close()
        self._wake()


class Connections:
    """Opens connections to replicas and keeps idle ones for a moment."""

    def __init__(self) -> None:
        self._idle: dict[Address, list[Connection]] = defaultdict(list)

    async def open(self, replica: Replica) -> Connection:
        """Return a connection to a replica.

        Raises:
            Unreachable: It does not take one.
        """
        address = (replica.host, replica.port or 0)
        idle = self._idle[address]
        fresh_s = time.monotonic() - KEEP_ALIVE_S
        while idle:
            known = idle.pop()
            if known.reusable and known.idle_since_s > fresh_s:
                return known
            known.abort()
        return await _connect(address)

    def give_back(self, connection: Connection) -> None:
        """Keep a connection whose answer was read to the end; close any other."""
        if connection.reusable:
            self._idle[connection.address].append(connection)
        else:
            connection.abort()

    def prune(self) -> None:
        """Close what was idle for too long."""
        fresh_s = time.monotonic() - KEEP_ALIVE_S
        for address, idle in list(self._idle.items()):
            kept = [c for c in idle if c.reusable and c.idle_since_s > fresh_s]
            for connection in idle:
                if connection not in kept:
                    connection.abort()
            if kept:
                self._idle[address] = kept
            else:
                del self._idle[address]

    async def run(self) -> None:
        """Prune until cancelled."""
        while True:
            await asyncio.sleep(KEEP_ALIVE_S)
            self.prune()

    def close(self) -> None:
        """Close every idle connection."""
        for idle in self._idle.values():
            for connection in idle:
                connection.abort()
        self._idle.clear()


async def _connect(address: Address) -> Connection:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(CONNECT_S):
            _, connection = await loop.create_connection(lambda: Connection(address), *address)
    except (OSError, TimeoutError) as error:
        reason = type(error).__name__
        raise Unreachable(reason, refused=True) from error
    return connection
