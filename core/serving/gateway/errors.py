"""Errors in the shape OpenAI clients understand."""

from collections.abc import Mapping

from aiohttp import web

INVALID = "invalid_request_error"
UNAVAILABLE = "service_unavailable"
UPSTREAM = "upstream_error"


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
