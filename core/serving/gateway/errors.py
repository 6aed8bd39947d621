"""Errors in the shape OpenAI clients understand."""

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

INVALID = "invalid_request_error"
UNAVAILABLE = "service_unavailable"
UPSTREAM = "upstream_error"

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ApiError(Exception):
    """A request that ends with an error of the gateway's own.

    Args:
        status: HTTP status.
        message: What went wrong and what to do, for the caller.
        kind: OpenAI's `type`.
        param: Field of the body that is at fault.
        code: OpenAI's machine-readable `code`.
        retry_after_s: Whole seconds for `Retry-After`; None leaves it out.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = INVALID,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.code = code
        self.retry_after_s = retry_after_s

    @property
    def body(self) -> dict[str, dict[str, str | None]]:
        """The JSON object a client gets."""
        error = {"message": self.message, "type": self.kind}
        return {"error": {**error, "param": self.param, "code": self.code}}

    def response(self, headers: Mapping[str, str]) -> web.Response:
        """Return the HTTP answer, with extra headers."""
        retry = {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}
        return web.json_response(self.body, status=self.status, headers={**headers, **retry})


@web.middleware
async def openai_errors(request: web.Request, handler: Answer) -> web.StreamResponse:
    """Give aiohttp's own errors (no such path, wrong method) the OpenAI shape too."""
    try:
        return await handler(request)
    except ApiError as error:
        return error.response({})
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _from_http(error, request).response(_allow(error))


def _from_http(error: web.HTTPException, request: web.Request) -> ApiError:
    if error.status == 404:
        message = f"There is no {request.path!r} here; see GET / for what there is."
    else:
        message = f"{request.method} {request.path!r}: {error.reason}."
    return ApiError(error.status, message)


def _allow(error: web.HTTPException) -> dict[str, str]:
    return {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
