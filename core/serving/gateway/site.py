"""From paths and methods to what answers them; aiohttp's server without its router."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from core.serving.gateway.body import MAX_BODY_BYTES
from core.serving.gateway.errors import ApiError

DRAIN_S = 10.0
IDLE_S = 75.0
"""A connection that sends no whole request head for so long is closed."""
LARGEST_LINE_BYTES = 8190
MOST_HEADERS = 100

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Routes = Mapping[str, Mapping[str, Answer]]
"""By path and method. A look into two dicts takes a tenth of what aiohttp's router does."""


class Site:
    """Answers requests, errors in the shape OpenAI clients understand."""

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        methods = self._routes.get(request.path)
        if methods is None:
            message = f"There is no {request.path!r} here; see GET / for what there is."
            return ApiError(404, message).response({})
        answer = methods.get("GET" if request.method == "HEAD" else request.method)
        if answer is None:
            message = f"{request.method} {request.path!r}: Method Not Allowed."
            return ApiError(405, message).response({"Allow": ",".join(methods)})
        try:
            return await answer(request)
        except ApiError as error:
            return error.response({})


def make_runner(site: Site) -> web.ServerRunner:
    """Return how to run a site: a caller who leaves cancels the work for them."""
    log = logging.getLogger("core.serving.gateway.http")
    log.addFilter(_no_bad_requests)
    server = web.Server(
        site,
        request_factory=_request,
        handler_cancellation=True,
        access_log=None,
        logger=log,
        keepalive_timeout=IDLE_S,
        max_line_size=LARGEST_LINE_BYTES,
        max_field_size=LARGEST_LINE_BYTES,
        max_headers=MOST_HEADERS,
        auto_decompress=False,
    )
    return web.ServerRunner(server, shutdown_timeout=DRAIN_S)


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    loop = task.get_loop()
    return web.BaseRequest(
        message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY_BYTES
    )


def _no_bad_requests(record: logging.LogRecord) -> bool:
    """Leave bytes that are not HTTP out of the log: whoever connects could fill the disk."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, HttpProcessingError)
