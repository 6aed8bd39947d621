"""Reading confidences out of whatever engines send; giving callers what they asked for."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.serving.gateway.body import Ask, parse_ask
from core.serving.gateway.judging import FirstAnswer, can_be_judged, telling
from core.serving.gateway.sse import Usage

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "logprobs",
                    "content",
                    "logprob",
                    "delta",
                    "message",
                    "usage",
                    "text",
                    "n",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)
LOGPROBS = st.lists(st.floats(-20, 0), min_size=1, max_size=8)


def asked(*, chat: bool = True, **fields: Any) -> Ask:
    told: dict[str, Any] = {"messages": [{"role": "user", "content": "?"}]}
    if not chat:
        told = {"prompt": "?"}
    return parse_ask(json.dumps({"model": "m", **told, **fields}).encode(), chat=chat)


def events(values: list[float]) -> list[dict[str, Any]]:
    """A chat stream as vLLM sends it, with counts on every event."""

    def of(choices: list[Any], tokens: int) -> dict[str, Any]:
        usage = {"prompt_tokens": 7, "completion_tokens": tokens, "total_tokens": 7 + tokens}
        top = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 5, "model": "s"}
        return {**top, "choices": choices, "usage": usage}

    def choice(delta: dict[str, str], logprobs: Any, reason: str | None = None) -> dict[str, Any]:
        return {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}

    said = [of([choice({"role": "assistant", "content": ""}, None)], 0)]
    for number, value in enumerate(values, 1):
        told = {"content": [{"token": "x", "logprob": value, "top_logprobs": []}]}
        reason = "stop" if number == len(values) else None
        said.append(of([choice({"content": f"é{number} "}, told, reason)], number))
    return [*said, of([], len(values))]


def stream(parts: list[Any], *, done: bool = True, ending: str = "\n") -> bytes:
    lines = [f"data: {json.dumps(one)}{ending}{ending}" for one in parts]
    return "".join([*lines, f"data: [DONE]{ending}{ending}"] if done else lines).encode()


def read(ask: Ask, content: bytes, threshold: float = -30.0, step: int = 0) -> FirstAnswer:
    first = FirstAnswer(ask, threshold, ask.most_tokens)
    for start in range(0, len(content), step or max(1, len(content))):
        first.feed(content[start : start + (step or len(content))])
    return first


@settings(max_examples=50, deadline=None)
@given(LOGPROBS, st.sampled_from(["\n", "\r\n"]), st.integers(1, 200))
def test_a_stream_and_a_document_say_what_the_engine_said(
    values: list[float], ending: str, step: int
) -> None:
    sent = stream(events(values), ending=ending)
    streamed = read(asked(stream=True), sent, step=step)
    document = read(asked(), sent, step=step)
    for first in (streamed, document):
        assert first.confidence == pytest.approx(sum(values) / len(values))
        assert first.accepted
        assert first.usage == Usage(7, len(values))
        assert b'"logprob"' not in first.content()
    text = "".join(f"é{number} " for number in range(1, len(values) + 1))
    whole = json.loads(read(asked(), sent).content())
    assert whole == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 5,
        "model": "s",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 7,
            "completion_tokens": len(values),
            "total_tokens": 7 + len(values),
        },
    }
    *parts, done, end = read(asked(stream=True), sent).content().split(b"\n\n")
    assert (done, end) == (b"data: [DONE]", b"")
    told = [json.loads(part.removeprefix(b"data: ")) for part in parts]
    assert "".join(one["choices"][0]["delta"]["content"] for one in told) == text
    assert all("usage" not in one for one in told), "nobody asked"


def test_usage_goes_to_who_asked() -> None:
    sent = stream(events([-0.5, -0.5]))
    wants = asked(stream=True, stream_options={"include_usage": True})
    *parts, _, _ = read(wants, sent).content().split(b"\n\n")
    told = [json.loads(part.removeprefix(b"data: ")) for part in parts]
    assert [one["usage"]["completion_tokens"] for one in told if "usage" in one] == [2]
    assert told[-1]["choices"] == []


@pytest.mark.parametrize("streams", [True, False])
def test_log_probabilities_go_to_who_asked(streams: bool) -> None:
    content = read(asked(stream=streams, logprobs=True), stream(events([-0.5, -0.25]))).content()
    assert content.count(b'"logprob"') == 2


def test_text_completions_are_put_together_too() -> None:
    parts = [
        {"object": "text_completion", "choices": [{"text": text, "logprobs": told}]}
        for text, told in (
            ("a", {"tokens": ["a"], "token_logprobs": [-0.5]}),
            ("b", {"tokens": ["b"], "token_logprobs": [-0.25]}),
        )
    ]
    first = read(asked(chat=False, logprobs=0), stream(parts))
    assert first.confidence == -0.375
    [choice] = json.loads(first.content())["choices"]
    logprobs = {"tokens": ["a", "b"], "token_logprobs": [-0.5, -0.25]}
    assert choice == {"index": 0, "text": "ab", "logprobs": logprobs}


@pytest.mark.parametrize(
    "content",
    [
        stream(events([-0.1]), done=False),
        stream([*events([-0.1]), {"error": {"message": "out of memory"}}]),
        stream([]),
        stream([{"choices": [{"delta": {"content": "x"}}]}]),
        b'{"choices": [{"message": {"content": "x"}}]}',
        b"data: {not JSON\n\ndata: [DONE]\n\n",
        b"",
    ],
)
def test_what_is_no_whole_answer_is_not_accepted(content: bytes) -> None:
    assert not read(asked(stream=True), content).accepted
    assert not read(asked(), content).accepted


@settings(max_examples=100, deadline=None)
@given(LOGPROBS, st.floats(-10, 0), st.integers(0, 8))
def test_stopping_early_never_changes_the_verdict(
    values: list[float], threshold: float, room: int
) -> None:
    ask = asked(max_tokens=len(values) + room)
    first = FirstAnswer(ask, threshold, ask.most_tokens)
    stopped = False
    for part in [*(stream([one], done=False) for one in events(values)), stream([])]:
        stopped = stopped or first.hopeless
        first.feed(part)
    if stopped:
        assert not first.accepted
    mean = sum(values) / len(values)
    if abs(mean - threshold) > 1e-9:
        assert first.accepted is (mean >= threshold)


def test_one_bad_token_may_be_enough_to_know() -> None:
    """Ten tokens at most: -6 in one of them is -0.6 on average even if all others are sure."""
    first = read(asked(max_tokens=10), stream(events([-6.0]), done=False), threshold=-0.5)
    assert first.hopeless
    assert not read(asked(), stream(events([-6.0]), done=False), threshold=-0.5).hopeless


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=60)
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.lists(st.lists(JSON, max_size=2).map(lambda its: {"choices": its}), max_size=3).map(
        stream
    )
    | JSON.map(lambda value: f"data: {json.dumps(value)}\n\ndata: [DONE]\n\n".encode()),
    st.booleans(),
    st.booleans(),
)
def test_no_bytes_break_it(content: bytes, streamed: bool, chat: bool) -> None:
    first = read(asked(stream=streamed, chat=chat), content, threshold=-1e9)
    assert first.confidence is None or first.confidence <= 0
    assert first.hopeless in {True, False}
    assert isinstance(first.content(), bytes)


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "tools",
                "n",
                "best_of",
                "response_format",
                "prompt",
                "logit_bias",
                "echo",
                "logprobs",
            ]
        ),
        JSON,
        max_size=4,
    )
)
def test_no_payload_breaks_the_question_whether_it_can_be_judged(payload: dict[str, Any]) -> None:
    assert can_be_judged(payload) in {True, False}
    assert not can_be_judged({**payload, "tools": [{}]})


@pytest.mark.parametrize(
    ("chat", "given_fields", "sent"),
    [
        (True, {}, True),
        (True, {"logprobs": False}, True),
        (True, {"logprobs": None}, True),
        (True, {"logprobs": True, "top_logprobs": 2}, True),
        (False, {}, 0),
        (False, {"logprobs": None}, 0),
        (False, {"logprobs": 0}, 0),
        (False, {"logprobs": 4}, 4),
    ],
)
def test_log_probabilities_are_asked_for_as_each_endpoint_wants_it(
    chat: bool, given_fields: dict[str, Any], sent: object
) -> None:
    ask = asked(chat=chat, **given_fields)
    body = json.loads(telling(ask).upstream_body("small"))
    assert (body["logprobs"], type(body["logprobs"])) == (sent, type(sent))
    assert ask.payload.get("logprobs") == given_fields.get("logprobs"), "the request is untouched"


def test_several_prompts_cannot_be_judged() -> None:
    assert can_be_judged(asked(chat=False).payload)
    assert not can_be_judged(asked(chat=False, prompt=["a", "b"]).payload)
