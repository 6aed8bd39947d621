"""A model server that speaks OpenAI's streaming chat protocol, as fast and as wrong as told.

In a test: `async with OpenAIStub(models=("small",), ttft_ms=5) as stub: ... stub.base_url`, or
`with in_thread(OpenAIStub(...)) as stub:` where the code under test is synchronous.
As a process: `python -m tests.fakes.openai_stub --port 8800 --model small`.
"""

import argparse
import asyncio
import contextlib
import json
import math
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from aiohttp import web

AnswerText = str | Callable[[str, str], str]
"""A text, or a function of the model's name and the last user message."""

FAILURES = ("status", "cut", "garbage", "error_event", "silent", "empty")
"""How to fail: HTTP 500; the connection cut after the first content; a line that is not JSON; an
error event after the first content; no answer at all; a stream without any event."""


class OpenAIStub:
    """One server on a free port of 127.0.0.1; an async context manager.

    Args:
        models: Names it serves; another one is answered with 404, as vLLM does.
        ttft_ms: Pause before the first content.
        tpot_ms: Pause before each token after the first.
        tokens: Tokens of an answer, as reported in `usage`; None for one per word.
        answer: What it says, split over the tokens.
        fail: One of `FAILURES`, for every request or, as a mapping, by request number from 0.
        port: TCP port; 0 for a free one.
        cache: Blocks and tokens per block that its metrics report; None for no report.
        most_in_batch: Requests answered together; further ones wait, as behind a full batch.
        logprob: Log-probability of each token, by the model's name and the last user message; 0
            where None.

    Attributes:
        seen: Request bodies, in order of arrival.
        most_in_flight: Most requests that were open together.
    """

    def __init__(
        self,
        models: Collection[str] = ("stub",),
        ttft_ms: float = 0.0,
        tpot_ms: float = 0.0,
        tokens: int | None = None,
        answer: AnswerText = "The answer is 4",
        fail: str | Mapping[int, str] | None = None,
        port: int = 0,
        cache: tuple[int, int] | None = None,
        most_in_batch: int = 10**6,
        logprob: Callable[[str, str], float] | None = None,
    ) -> None:
        self.models = tuple(models)
        self.ttft_ms = ttft_ms
        self.tpot_ms = tpot_ms
        self.tokens = tokens
        self.answer = answer
        self.fail = fail
        self.port = port
        self.cache = cache
        self.logprob = logprob
        self._batch = asyncio.Semaphore(most_in_batch)
        self.seen: list[dict[str, Any]] = []
        self.most_in_flight = 0
        self._in_flight = 0
        self._over = asyncio.Event()
        self._runner: web.AppRunner | None = None

    @property
    def base_url(self) -> str:
        """Where it listens, without `/v1`."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._list_models)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_post("/v1/chat/completions", self._chat)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _list_models(self, request: web.Request) -> web.Response:
        data = [{"id": name, "object": "model"} for name in self.models]
        return web.json_response({"object": "list", "data": data})

    async def _metrics(self, request: web.Request) -> web.Response:
        lines = [f'vllm:num_requests_running{{engine="0"}} {self._in_flight}.0']
        lines.append('vllm:num_requests_waiting{engine="0"} 0.0')
        if self.cache:
            labels = f'block_size="{self.cache[1]}",engine="0",num_gpu_blocks="{self.cache[0]}"'
            lines.append(f"vllm:cache_config_info{{{labels}}} 1.0")
        return web.Response(text="\n".join(lines) + "\n")

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        number = len(self.seen)
        self.seen.append(body)
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            async with self._batch:
                return await self._answered(request, body, self._failure(number))
        finally:
            self._in_flight -= 1

    def _failure(self, number: int) -> str | None:
        return self.fail.get(number) if isinstance(self.fail, Mapping) else self.fail

    async def _answered(
        self, request: web.Request, body: dict[str, Any], failure: str | None
    ) -> web.StreamResponse:
        if body["model"] not in self.models:
            return _error(404, f"The model {body['model']!r} does not exist.")
        if failure == "status":
            return _error(500, "EngineCore encountered an issue.")
        if failure == "silent":
            await self._over.wait()
        parts = self._parts(body)
        if not body.get("stream"):
            await asyncio.sleep((self.ttft_ms + self.tpot_ms * (len(parts) - 1)) / 1000)
            return web.json_response(_whole(body, parts))
        return await self._stream(request, body, parts, failure)

    def _logprob(self, body: dict[str, Any]) -> float | None:
        """What is told of a token; None when nobody asks."""
        if not body.get("logprobs"):
            return None
        text = str(body["messages"][-1]["content"])
        return self.logprob(body["model"], text) if self.logprob else 0.0

    def _parts(self, body: dict[str, Any]) -> list[str]:
        text = str(body["messages"][-1]["content"])
        if body.get("ignore_eos"):
            return ["x "] * int(body["max_tokens"])
        said = self.answer if isinstance(self.answer, str) else self.answer(body["model"], text)
        return split(said, self.tokens, int(body.get("max_tokens") or 10**6))

    async def _stream(
        self, request: web.Request, body: dict[str, Any], parts: Sequence[str], failure: str | None
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if failure == "empty":
            return response
        await response.write(_event(body, {"role": "assistant", "content": ""}))
        for index, part in enumerate(parts):
            await asyncio.sleep((self.tpot_ms if index else self.ttft_ms) / 1000)
            await response.write(_event(body, {"content": part}, self._logprob(body)))
            if failure in {"cut", "garbage", "error_event"}:
                await _break(request, response, failure)
                return response
        if (body.get("stream_options") or {}).get("include_usage"):
            last = {"model": body["model"], "choices": [], "usage": _usage(body, parts)}
            await response.write(b"data: " + json.dumps(last).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response


def split(text: str, tokens: int | None, most: int) -> list[str]:
    """Split a text into so many parts (one per word by default), at most `most` of them."""
    if tokens is None:
        words = text.split(" ")
        parts = [words[0], *(f" {word}" for word in words[1:])]
    else:
        size = max(1, math.ceil(len(text) / tokens))
        parts = [text[i * size : (i + 1) * size] or "." for i in range(tokens)]
    return parts[:most]


async def _break(request: web.Request, response: web.StreamResponse, failure: str) -> None:
    if failure == "garbage":
        await response.write(b"data: {not JSON\n\n")
    elif failure == "error_event":
        await response.write(b'data: {"error": {"message": "out of memory"}}\n\n')
    elif request.transport is not None:
        request.transport.abort()


def _error(status: int, message: str) -> web.Response:
    error = {"message": message, "type": "stub", "param": None, "code": status}
    return web.json_response({"error": error}, status=status)


def _usage(body: dict[str, Any], parts: Sequence[str]) -> dict[str, int]:
    prompt = len(str(body["messages"][-1]["content"]))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": len(parts),
        "total_tokens": prompt + len(parts),
    }


def _event(body: dict[str, Any], delta: dict[str, str], logprob: float | None = None) -> bytes:
    choice: dict[str, Any] = {"index": 0, "delta": delta}
    if logprob is not None:
        choice["logprobs"] = {"content": [{"token": delta["content"], "logprob": logprob}]}
    event = {"model": body["model"], "choices": [choice]}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def _whole(body: dict[str, Any], parts: Sequence[str]) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": "".join(parts)}}
    return {"model": body["model"], "choices": [choice], "usage": _usage(body, parts)}


@contextlib.contextmanager
def in_thread(stub: OpenAIStub) -> Iterator[OpenAIStub]:
    """Serve from a thread of its own, for code under test that runs an event loop itself."""
    started, over = threading.Event(), threading.Event()

    async def serve() -> None:
        async with stub:
            started.set()
            await asyncio.to_thread(over.wait)

    with ThreadPoolExecutor(1) as pool:
        serving = pool.submit(asyncio.run, serve())
        try:
            assert started.wait(30), serving.exception(0)
            yield stub
        finally:
            over.set()
        serving.result()


async def _serve(stub: OpenAIStub) -> None:
    async with stub:
        print(f"listening on {stub.base_url}", flush=True)
        await asyncio.Event().wait()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", action="append", required=True, help="may be repeated")
    parser.add_argument("--ttft-ms", type=float, default=5.0)
    parser.add_argument("--tpot-ms", type=float, default=1.0)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--answer", default="The answer is 4")
    parser.add_argument("--fail", choices=FAILURES)
    given = parser.parse_args(arguments)
    stub = OpenAIStub(
        given.model,
        given.ttft_ms,
        given.tpot_ms,
        given.tokens,
        given.answer,
        given.fail,
        given.port,
    )
    try:
        asyncio.run(_serve(stub))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
