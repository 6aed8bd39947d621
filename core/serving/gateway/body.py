"""Reads and checks the body of a completion request; everything else in it is passed on."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

from aiohttp import web
from pydantic import BaseModel, Field, StrictBool, StrictInt, StrictStr, ValidationError

from core.serving.gateway.errors import ApiError

MAX_BODY_BYTES = 4 * 1024 * 1024
READ_S = 30.0
"""Longest time a caller may take to send a body."""
MOST_EARLIER = 8
"""Messages before the query that are looked at."""
AUTO = "auto"

TokenIds = list[StrictInt]


class _StreamOptions(BaseModel):
    include_usage: StrictBool | None = None


class _Body(BaseModel):
    model: StrictStr = Field(min_length=1, max_length=256)
    stream: StrictBool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: StrictInt | None = None
    max_completion_tokens: StrictInt | None = None
    n: StrictInt | None = None

    @property
    def most_tokens(self) -> int | None:
        """Answer tokens the caller allows, all choices together; None when it does not say."""
        given = self.max_completion_tokens or self.max_tokens
        return None if given is None else max(1, given) * max(1, self.n or 1)


class _Part(BaseModel):
    type: StrictStr
    text: StrictStr | None = None


class _Message(BaseModel):
    role: StrictStr
    content: StrictStr | list[_Part] | None = None

    @property
    def text(self) -> str:
        """Text of the message; images and other parts have none."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content or () if part.text)


class _ChatBody(_Body):
    messages: list[_Message] = Field(min_length=1)

    @property
    def text(self) -> str:
        """Text of the last user message: the query to classify."""
        return self.messages[self._asked].text

    @property
    def earlier(self) -> tuple[str, ...]:
        """Texts of the messages just before it, oldest first."""
        asked = self._asked
        return tuple(m.text for m in self.messages[max(0, asked - MOST_EARLIER) : asked])

    @property
    def _asked(self) -> int:
        """Place of the last user message, or of the last one."""
        last = len(self.messages) - 1
        from_user = (n for n in range(last, -1, -1) if self.messages[n].role == "user")
        return next(from_user, last)


class _CompletionBody(_Body):
    prompt: StrictStr | list[StrictStr] | TokenIds | list[TokenIds]
    earlier: ClassVar[tuple[str, ...]] = ()

    @property
    def text(self) -> str | None:
        """The prompt, or the first of several; None when it is token ids."""
        first = self.prompt[0] if isinstance(self.prompt, list) and self.prompt else self.prompt
        return first if isinstance(first, str) else None


@dataclass(frozen=True, slots=True)
class Ask:
    """A checked request.

    Attributes:
        payload: The caller's JSON object as it came.
        model: `auto` or a model's name.
        text: Query to classify; None when the caller sent token ids.
        earlier: Messages of the conversation before it.
        stream: Whether the answer is to come as server-sent events.
        wants_usage: Whether the caller asked for the usage event of a stream.
        size_bytes: Of the body; what the prompt's length is guessed from.
        most_tokens: Answer tokens the caller allows; None when it does not say.
    """

    payload: dict[str, Any]
    model: str
    text: str | None
    stream: bool
    wants_usage: bool
    size_bytes: int = 0
    most_tokens: int | None = None
    earlier: tuple[str, ...] = ()

    def upstream_body(self, served_name: str) -> bytes:
        """Return the body for a replica: its model name, and usage on every stream."""
        changes: dict[str, Any] = {"model": served_name}
        if self.stream:
            options = self.payload.get("stream_options") or {}
            changes["stream_options"] = {**options, "include_usage": True}
        return json.dumps(self.payload | changes, separators=(",", ":")).encode()


async def read_ask(request: web.BaseRequest, *, chat: bool) -> Ask:
    """Read a request body.

    Raises:
        ApiError: 413 too large, 415 not JSON by its header, 408 it did not come in time, 400 not a
            usable request.
    """
    # A form or text post could come from any web page a person has open; JSON cannot.
    if request.content_type != "application/json":
        raise ApiError(415, "Send the header 'Content-Type: application/json'.")
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise ApiError(415, "Send the body without Content-Encoding.")
    await _expected(request)
    try:
        if request.content.is_eof():  # as nearly always: saves the timer
            raw = await request.read()
        else:
            async with asyncio.timeout(READ_S):
                raw = await request.read()
    except TimeoutError:
        raise ApiError(408, f"The body did not come within {READ_S:.0f} s.") from None
    except web.HTTPRequestEntityTooLarge:
        limit_mib = MAX_BODY_BYTES // 1024**2
        raise ApiError(413, f"The body is larger than {limit_mib} MiB.") from None
    return parse_ask(raw, chat=chat)


async def _expected(request: web.BaseRequest) -> None:
    """Let a caller send its body who asks whether it may, as curl does with large ones."""
    expected = request.headers.get("Expect")
    if expected is None:
        return
    if expected.lower() != "100-continue":
        raise ApiError(417, "The only Expect that is known is 100-continue.")
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # the answer itself has not begun


def parse_ask(raw: bytes, *, chat: bool) -> Ask:
    """Check the bytes of a request body.

    Raises:
        ApiError: 400, naming the field at fault.
    """
    payload = _json_object(raw)
    kind = _ChatBody if chat else _CompletionBody
    try:
        body = kind.model_validate(payload)
    except ValidationError as error:
        raise _first_problem(error) from None
    if body.model == AUTO and body.text is None:
        raise ApiError(
            400,
            "Token ids belong to one model's tokenizer: name that model instead of 'auto', "
            "or send text.",
            param="prompt",
        )
    options = body.stream_options
    return Ask(
        payload=payload,
        model=body.model,
        text=body.text,
        stream=bool(body.stream),
        wants_usage=bool(options and options.include_usage),
        size_bytes=len(raw),
        most_tokens=body.most_tokens,
        earlier=body.earlier,
    )


def _json_object(raw: bytes) -> dict[str, Any]:
    try:
        payload = json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ApiError(400, f"The body is not valid JSON: {reason}.") from None
    if not isinstance(payload, dict):
        raise ApiError(400, "The body must be a JSON object.")
    return payload


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _first_problem(error: ValidationError) -> ApiError:
    """Turn pydantic's list into one sentence; names of union branches are left out of the path."""
    problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
    steps = [s for s in problem["loc"] if isinstance(s, int) or (s.isidentifier() and s != "str")]
    param = ".".join(str(step) for step in steps)
    return ApiError(400, f"'{param}': {problem['msg']}.", param=param)
