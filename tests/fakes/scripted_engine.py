"""A model server as the gateway sees it, over real HTTP, driven by events instead of time.

`openai_stub` paces its answers like an engine, for measuring; this one waits until it is told to
go on, so that tests of streaming, cancelling and dying do not depend on how fast anything is.
"""

import asyncio
import json
from types import TracebackType
from typing import Any, Self

from aiohttp import web

WORDS = ("one ", "two ", 'and "usage" ', "done é")
PROMPT_TOKENS = 11


class ScriptedEngine:
    """Answers `WORDS` to everything; an async context manager.

    Attributes:
        seen: Bodies received, in order.
        stopped_early: Answers that the other side cancelled.
        status: HTTP status to answer with; not 200 gives an error body.
        drop_after: Events after which the connection is cut; None for never.
        hold: Set to let answers go on past the first event; set from the start.
        says: Message of its errors.
        cut_after_head: Whether streams are cut before their first event.
        logprob: Of every token, told to those who ask; None tells none.
    """

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.stopped_early = 0
        self.status = 200
        self.drop_after: int | None = None
        self.cut_after_head = False
        self.says = "scripted"
        self.hold = asyncio.Event()
        self.hold.set()
        self.logprob: float | None = None
        self.port = 0
        app = web.Application(client_max_size=8 * 1024**2)
        app.router.add_post("/v1/chat/completions", self._answer)
        app.router.add_post("/v1/completions", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Close the port, as a dead server does."""
        self.hold.set()
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.seen.append(body)
        try:
            if self.status != 200:
                error = {"message": self.says, "type": "engine", "param": None, "code": 1}
                return web.json_response({"error": error}, status=self.status)
            if body.get("stream"):
                return await self._stream(request, body)
            return await self._whole(request, body)
        except (asyncio.CancelledError, ConnectionResetError):
            self.stopped_early += 1
            raise

    async def _whole(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if self.drop_after == 0:
            _cut(request)
        await self.hold.wait()
        choice: dict[str, Any] = {"index": 0}
        if "messages" in body:
            choice["message"] = {"role": "assistant", "content": "".join(WORDS)}
        else:
            choice["text"] = "".join(WORDS)
        choice["logprobs"] = told_logprobs(body, self.logprob, len(WORDS))
        return web.json_response({"model": body["model"], "choices": [choice], "usage": USAGE})

    async def _stream(self, request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        if self.drop_after == 0:
            _cut(request)
            return response
        await response.prepare(request)
        if self.cut_after_head:
            _cut(request)
            return response
        for number, event in enumerate(events(body, self.logprob), 1):
            await response.write(event)
            if number == self.drop_after:
                _cut(request)
                return response
            await self.hold.wait()
        return response


USAGE = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": len(WORDS), "total_tokens": 15}


def told_logprobs(body: dict[str, Any], logprob: float | None, tokens: int) -> Any:
    """The field as vLLM writes it: null when it was not asked for."""
    if logprob is None:
        return None
    if "messages" in body:
        one = {"token": "t", "logprob": logprob, "bytes": [116], "top_logprobs": []}
        return {"content": [one] * tokens} if body.get("logprobs") else None
    if body.get("logprobs") is None:
        return None
    return {"tokens": ["t"] * tokens, "token_logprobs": [logprob] * tokens}


def events(body: dict[str, Any], logprob: float | None = None) -> list[bytes]:
    """The stream a server sends for a body."""
    told = told_logprobs(body, logprob, 1)
    extra = {} if logprob is None else {"logprobs": told}
    options = body.get("stream_options") or {}
    lines: list[dict[str, Any]] = []
    for number, word in enumerate(WORDS, 1):
        part = {"delta": {"content": word}} if "prompt" not in body else {"text": word}
        lines.append({"model": body["model"], "choices": [{"index": 0, **part, **extra}]})
        if options.get("continuous_usage_stats"):
            lines[-1]["usage"] = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": number}
    if options.get("include_usage"):
        lines.append({"model": body["model"], "choices": [], "usage": USAGE})
    encoded = [b"data: " + json.dumps(line).encode() + b"\n\n" for line in lines]
    return [*encoded, b"data: [DONE]\n\n"]


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()
