"""A fast OpenAI-compatible back-end that paces its answers: a process of its own.

Written on bare sockets, because it shares a core with the load and must not be what is measured.
It speaks as much HTTP as the gateways under test send: a request line, headers, and a body with a
Content-Length or in chunks.
"""

import argparse
import asyncio
import json
import re
from collections.abc import Sequence
from typing import cast

import uvloop

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
STREAM = re.compile(rb'"stream" *: *true')
USAGE = re.compile(rb'"include_usage" *: *true')
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n"
LAST_CHUNK = b"0\r\n\r\n"


class Pace:
    """How answers are paced.

    Args:
        tokens: Events of a streamed answer.
        first_ms: To the first event.
        gap_ms: From one event to the next; 0 sends all without a pause.
    """

    def __init__(self, tokens: int, first_ms: float, gap_ms: float) -> None:
        self.tokens = tokens
        self.first_s = first_ms / 1000
        self.gap_s = gap_ms / 1000
        self.usage = {
            "prompt_tokens": 20,
            "completion_tokens": tokens,
            "total_tokens": 20 + tokens,
        }
        self.event = _chunk(_event(choices=[_choice({"content": "word "})]))
        last = _chunk(_event(choices=[_choice({}, "stop")]))
        done = _chunk(b"data: [DONE]\n\n") + LAST_CHUNK
        self.end = last + done
        self.end_with_usage = last + _chunk(_event(choices=[], usage=self.usage)) + done
        self.stream_head = HEAD % b"text/event-stream" + b"Transfer-Encoding: chunked\r\n\r\n"
        self.whole = self._whole()

    def _whole(self) -> bytes:
        message = {"role": "assistant", "content": "word " * self.tokens}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        body = _body("chat.completion", choices=[choice], usage=self.usage)
        return HEAD % b"application/json" + b"Content-Length: %d\r\n\r\n" % len(body) + body


class Connection(asyncio.Protocol):
    """One connection: requests one after another."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        """Stop what is under way."""
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        self._received += data
        while (found := request(self._received)) is not None:
            head, body, self._received = found
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET"):
            self._write(_simple(head.split(b" ", 2)[1]))
        elif STREAM.search(body):
            end = self._pace.end_with_usage if USAGE.search(body) else self._pace.end
            self._later(self._pace.first_s, 0, end)
        else:
            wait_s = self._pace.first_s + self._pace.gap_s * (self._pace.tokens - 1)
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(wait_s, self._write, self._pace.whole)

    def _later(self, wait_s: float, number: int, end: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(wait_s, self._event, number, end)

    def _event(self, number: int, end: bytes) -> None:
        self._write(self._pace.stream_head + self._pace.event if not number else self._pace.event)
        if number + 1 < self._pace.tokens:
            self._later(self._pace.gap_s, number + 1, end)
        else:
            self._write(end)

    def _write(self, content: bytes) -> None:
        if self._transport is not None:
            self._transport.write(content)


def request(received: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Split off the first whole request: head, body, rest."""
    head, blank, rest = received.partition(b"\r\n\r\n")
    if not blank:
        return None
    if CHUNKED.search(head):
        body, end, after = rest.partition(LAST_CHUNK)
        return (head, body, after) if end else None
    length = LENGTH.search(head)
    size = int(length[1]) if length else 0
    return (head, rest[:size], rest[size:]) if len(rest) >= size else None


def _simple(path: bytes) -> bytes:
    """Answers to what routers ask a server before they trust it."""
    models = {"object": "list", "data": [{"id": "stub", "object": "model", "owned_by": "stub"}]}
    body = json.dumps(models if path.startswith(b"/v1/models") else {}).encode()
    return HEAD % b"application/json" + b"Content-Length: %d\r\n\r\n" % len(body) + body


def _body(kind: str, **fields: object) -> bytes:
    return json.dumps(
        {"id": "x", "object": kind, "created": 1, "model": "stub", **fields}
    ).encode()


def _event(**fields: object) -> bytes:
    return b"data: " + _body("chat.completion.chunk", **fields) + b"\n\n"


def _choice(delta: dict[str, str], finish_reason: str | None = None) -> dict[str, object]:
    return {"index": 0, "delta": delta, "finish_reason": finish_reason}


def _chunk(content: bytes) -> bytes:
    return b"%x\r\n" % len(content) + content + b"\r\n"


async def _serve(ports: Sequence[int], pace: Pace) -> None:
    loop = asyncio.get_running_loop()
    for port in ports:
        await loop.create_server(lambda: Connection(pace), "127.0.0.1", port)
    print("listening", flush=True)
    await asyncio.Event().wait()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, action="append", required=True)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--first-ms", type=float, default=5.0)
    parser.add_argument("--gap-ms", type=float, default=2.0)
    given = parser.parse_args()
    uvloop.run(_serve(given.port, Pace(given.tokens, given.first_ms, given.gap_ms)))


if __name__ == "__main__":
    main()
