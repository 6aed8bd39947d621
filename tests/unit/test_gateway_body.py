"""What the gateway makes of a request body."""

import json
from typing import Any

import pytest

from core.serving.gateway.body import parse_ask
from core.serving.gateway.errors import ApiError

USER = {"role": "user", "content": "2 + 2?"}


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "auto", "messages": [USER], **fields}).encode()


def refusal(raw: bytes, *, chat: bool = True) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parse_ask(raw, chat=chat)
    assert caught.value.status == 400
    return caught.value


def test_text_of_the_last_user_message() -> None:
    messages = [USER, {"role": "assistant", "content": "4"}, {"role": "user", "content": "3 * 3?"}]
    assert parse_ask(chat(messages=messages), chat=True).text == "3 * 3?"


def test_text_of_content_parts() -> None:
    parts = [
        {"type": "text", "text": "What is"},
        {"type": "image_url", "image_url": {"url": "x"}},
        {"type": "text", "text": "this?"},
    ]
    message = {"role": "user", "content": parts}
    assert parse_ask(chat(messages=[message]), chat=True).text == "What is\nthis?"


def test_a_tool_call_without_content_is_fine() -> None:
    messages = [USER, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]
    assert parse_ask(chat(messages=messages), chat=True).text == "2 + 2?"


def test_without_a_user_message_the_last_one_counts() -> None:
    ask = parse_ask(chat(messages=[{"role": "system", "content": "hello"}]), chat=True)
    assert ask.text == "hello"


def test_everything_else_goes_upstream_untouched() -> None:
    raw = chat(temperature=0.25, stop=["a"], messages=[{**USER, "name": "é"}], extra={"x": [1]})
    sent = json.loads(parse_ask(raw, chat=True).upstream_body("small"))
    assert sent == {**json.loads(raw), "model": "small"}


@pytest.mark.parametrize(
    ("options", "wants", "sent"),
    [
        (None, False, {"include_usage": True}),
        ({"include_usage": True}, True, {"include_usage": True}),
        ({"include_usage": False}, False, {"include_usage": True}),
        (
            {"continuous_usage_stats": True},
            False,
            {"continuous_usage_stats": True, "include_usage": True},
        ),
    ],
)
def test_streams_always_report_usage(options: Any, wants: bool, sent: Any) -> None:
    ask = parse_ask(chat(stream=True, stream_options=options), chat=True)
    assert ask.stream
    assert ask.wants_usage is wants
    assert json.loads(ask.upstream_body("small"))["stream_options"] == sent


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": 7}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "hello"}, "messages"),
        ({"messages": ["hello"]}, "messages.0"),
        ({"messages": [{"content": "hello"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": []}, "stream_options"),
    ],
)
def test_the_field_at_fault_is_named(fields: dict[str, Any], param: str) -> None:
    error = refusal(chat(**fields))
    assert error.param == param
    assert param in error.message


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff\xfe\xfa",
        b"[1]",
        b"null",
        b'"text"',
        b'{"model": NaN}',
        b"[" * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
)
def test_not_a_json_object(raw: bytes) -> None:
    assert "JSON" in refusal(raw).message


@pytest.mark.parametrize(
    ("prompt", "text"),
    [("one", "one"), (["one", "two"], "one"), ([1, 2], None), ([[1, 2], [3]], None)],
)
def test_prompts_of_the_text_endpoint(prompt: Any, text: str | None) -> None:
    raw = json.dumps({"model": "small", "prompt": prompt}).encode()
    assert parse_ask(raw, chat=False).text == text


def test_token_ids_cannot_be_routed() -> None:
    error = refusal(b'{"model": "auto", "prompt": [1, 2]}', chat=False)
    assert "tokenizer" in error.message


def test_a_missing_prompt_is_named() -> None:
    assert refusal(b'{"model": "small"}', chat=False).param == "prompt"
