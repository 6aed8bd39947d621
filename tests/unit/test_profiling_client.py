"""The measuring client against a server that behaves, and one that does not."""

import asyncio

import pytest

from core.profiling.client import UNSURE, Answer, ask, open_session
from tests.fakes.openai_stub import OpenAIStub


async def one_answer(stub: OpenAIStub, model: str = "m", timeout_s: float = 20.0) -> Answer:
    async with open_session(timeout_s) as session:
        return await ask(session, stub.base_url, model, "2 + 2?", 50)


async def test_an_answer_has_text_times_and_the_engine_s_token_counts() -> None:
    async with OpenAIStub(("m",), ttft_ms=30, tpot_ms=10, answer="The answer is 4") as stub:
        answer = await one_answer(stub)
    assert answer.error == ""
    assert answer.text == "The answer is 4"
    assert (answer.input_tokens, answer.output_tokens) == (len("2 + 2?"), 4)
    assert answer.ttft_ms is not None
    assert answer.tpot_ms is not None
    assert answer.ttft_ms >= 29  # a pause is never shorter than asked, but for the clock's step
    assert answer.e2e_ms >= answer.ttft_ms + 3 * 9
    assert answer.tpot_ms == pytest.approx((answer.e2e_ms - answer.ttft_ms) / 3)
    assert answer.headers["content-type"] == "text/event-stream"


async def test_what_is_sent_makes_answers_repeatable_and_counted() -> None:
    async with OpenAIStub(("m",)) as stub:
        await one_answer(stub)
    [body] = stub.seen
    assert body["temperature"] == 0
    assert body["stream_options"] == {"include_usage": True}
    assert body["messages"] == [{"role": "user", "content": "2 + 2?"}]
    assert body["max_tokens"] == 50


async def test_an_exact_answer_has_so_many_tokens_and_a_prompt_of_its_own() -> None:
    async with OpenAIStub(("m",)) as stub, open_session() as session:
        answer = await ask(session, stub.base_url, "m", "?", 30, exact=True, cache_salt="s1")
        await ask(session, stub.base_url, "m", "?", 30)
    exact, plain = stub.seen
    assert answer.output_tokens == 30
    assert exact["ignore_eos"] is True
    assert exact["skip_special_tokens"] is False
    assert exact["cache_salt"] == "s1"
    assert not {"ignore_eos", "skip_special_tokens", "cache_salt"} & plain.keys()


@pytest.mark.parametrize(
    ("failure", "transient"),
    [("status", True), ("cut", True), ("empty", True), ("garbage", False), ("error_event", False)],
)
async def test_a_failure_says_whether_it_may_pass(failure: str, transient: bool) -> None:
    async with OpenAIStub(("m",), fail=failure) as stub:
        answer = await one_answer(stub)
        refused = await one_answer(stub, model="ghost")
    gone = await one_answer(stub)
    assert answer.transient is transient
    assert not refused.transient  # HTTP 404: asking again changes nothing
    assert gone.transient


@pytest.mark.parametrize(
    ("failure", "said", "kept"),
    [
        ("status", "HTTP 500", ""),
        ("cut", "Payload", "The"),
        ("garbage", "JSON", "The"),
        ("error_event", "out of memory", "The"),
        ("empty", "before [DONE]", ""),
    ],
)
async def test_failures_are_values_that_say_why(failure: str, said: str, kept: str) -> None:
    async with OpenAIStub(("m",), fail=failure) as stub:
        answer = await one_answer(stub)
    assert said in answer.error
    assert answer.text == kept
    assert (answer.ttft_ms is None) == (kept == "")
    assert answer.tpot_ms is None


async def test_a_model_that_is_not_served_is_an_error() -> None:
    async with OpenAIStub(("m",)) as stub:
        answer = await one_answer(stub, model="other")
    assert "HTTP 404" in answer.error
    assert "'other' does not exist" in answer.error


async def test_silence_ends_at_the_timeout() -> None:
    async with OpenAIStub(("m",), fail="silent") as stub:
        answer = await one_answer(stub, timeout_s=0.2)
    assert answer.error == "No complete answer within 0.2 s."


async def test_nobody_listens() -> None:
    async with OpenAIStub(("m",)) as stub:
        gone = stub
    answer = await one_answer(gone)
    assert "Connect" in answer.error


async def test_an_event_that_is_no_object_is_an_error() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ndata: 5\n\ndata: [DONE]\n\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, open_session(20) as session:
        answer = await ask(session, f"http://127.0.0.1:{port}", "m", "2 + 2?", 50)
    assert "not an object" in answer.error


def test_one_token_has_no_time_between_tokens() -> None:
    assert Answer("4", 10.0, 12.0, 5, 1).tpot_ms is None


async def test_confidence_is_told_to_who_asks() -> None:
    async with OpenAIStub(("m",), logprob=lambda *_: -0.5) as stub, open_session() as session:
        told = await ask(session, stub.base_url, "m", "?", 30, logprobs=True)
        silent = await ask(session, stub.base_url, "m", "?", 30)
    assert (told.confidence, silent.confidence) == (-0.5, None)
    assert [body.get("logprobs") for body in stub.seen] == [True, None]


async def test_an_answer_that_will_be_too_unsure_is_not_read_to_its_end() -> None:
    """After two of at most ten tokens the sum is -2: below -0.15 on average, not below -0.25."""
    async with (
        OpenAIStub(("m",), tokens=10, logprob=lambda *_: -1.0) as stub,
        open_session() as session,
    ):
        stopped = await ask(session, stub.base_url, "m", "?", 10, unsure_below=-0.15)
        whole = await ask(session, stub.base_url, "m", "?", 10, unsure_below=-1.0)
    assert stopped.error == UNSURE
    assert len(stopped.text) < len(whole.text)
    assert (whole.error, whole.confidence, whole.output_tokens) == ("", -1.0, 10)
