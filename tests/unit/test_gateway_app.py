"""The gateway over real sockets: routing, relaying, refusing, recording."""

import asyncio
import gzip
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from core.domain.deployment import ReplicaState
from core.domain.ids import utc_now
from core.errors import EnvironmentFailed
from core.ports import UnitOfWork, UnitOfWorkFactory
from tests.fakes.gateway_world import (
    DEAD_PORT,
    EASY_TEXT,
    HARD_TEXT,
    PLAN,
    RunningGateway,
    eventually,
    ready,
    running_gateway,
    seed_classifier,
    seed_plan,
)
from tests.fakes.scripted_engine import PROMPT_TOKENS, WORDS, ScriptedEngine, events

SAID = "".join(WORDS)


@pytest.fixture
async def small() -> AsyncIterator[ScriptedEngine]:
    async with ScriptedEngine() as engine:
        yield engine


@pytest.fixture
async def large() -> AsyncIterator[ScriptedEngine]:
    async with ScriptedEngine() as engine:
        yield engine


@pytest.fixture
async def gateway(
    memory_uow: UnitOfWorkFactory, small: ScriptedEngine, large: ScriptedEngine
) -> AsyncIterator[RunningGateway]:
    seed_classifier(memory_uow)
    seed_plan(memory_uow, {"small": [small.port], "large": [large.port]})
    async with running_gateway(memory_uow) as running:
        yield running


async def error_of(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    body = await answer.json()
    assert set(body["error"]) == {"message", "type", "param", "code"}
    return dict(body["error"])


@pytest.mark.parametrize(
    ("text", "query_class", "model"),
    [(EASY_TEXT, "easy", "small"), (HARD_TEXT, "hard", "large")],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_auto_follows_the_plan_and_says_so(
    gateway: RunningGateway, text: str, query_class: str, model: str, stream: bool
) -> None:
    async with gateway.ask(text, stream=stream) as answer:
        assert answer.status == 200
        content = await answer.read()
    assert model.encode() in content
    assert answer.headers["X-BOute-Class"] == query_class
    assert answer.headers["X-BOute-Model"] == model
    assert answer.headers["X-BOute-Plan"] == PLAN.plan_id
    [record] = await gateway.records()
    assert record.request_id == answer.headers["X-BOute-Request-Id"]
    assert record.replica_id == answer.headers["X-BOute-Replica"]
    assert (record.requested_model, record.query_class, record.model, record.status) == (
        "auto",
        query_class,
        model,
        200,
    )
    assert (record.input_tokens, record.output_tokens) == (PROMPT_TOKENS, len(WORDS))
    assert record.streamed is stream
    assert record.ttft_ms is not None
    assert 0 < record.ttft_ms <= record.e2e_ms
    assert record.prompt is None


async def test_a_named_model_is_obeyed(gateway: RunningGateway, large: ScriptedEngine) -> None:
    async with gateway.ask(EASY_TEXT, "large", temperature=0.5, seed=3) as answer:
        body = await answer.json()
    assert body["choices"][0]["message"]["content"] == SAID
    assert "X-BOute-Class" not in answer.headers
    [sent] = large.seen
    assert (sent["model"], sent["temperature"], sent["seed"]) == ("large", 0.5, 3)


@pytest.mark.parametrize("asked", [True, False])
async def test_a_stream_is_what_the_engine_would_have_sent(
    gateway: RunningGateway, asked: bool
) -> None:
    options = {"stream_options": {"include_usage": True}} if asked else {}
    async with gateway.ask(stream=True, **options) as answer:
        assert answer.content_type == "text/event-stream"
        content = await answer.read()
    assert content == b"".join(events({"model": "small", **options}))


async def test_events_arrive_before_the_answer_ends(
    gateway: RunningGateway, small: ScriptedEngine
) -> None:
    small.hold.clear()
    async with gateway.ask(stream=True) as answer:
        first = await answer.content.readuntil(b"\n\n")
        assert WORDS[0].encode() in first
        small.hold.set()
        assert (await answer.read()).endswith(b"data: [DONE]\n\n")


async def test_the_text_endpoint(gateway: RunningGateway, small: ScriptedEngine) -> None:
    url = f"{gateway.url}/v1/completions"
    async with gateway.client.post(url, json={"model": "auto", "prompt": EASY_TEXT}) as answer:
        assert answer.status == 200
        assert answer.headers["X-BOute-Model"] == "small"
    assert small.seen[0]["prompt"] == EASY_TEXT


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_who_leaves_stops_the_engine(
    gateway: RunningGateway, small: ScriptedEngine, stream: bool
) -> None:
    small.hold.clear()
    asking = asyncio.create_task(_first_bytes(gateway, stream))
    await eventually(lambda: len(small.seen) == 1)
    if stream:
        await asyncio.wait_for(asking, 10)
    else:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    await eventually(lambda: small.stopped_early == 1)
    [record] = await gateway.records()
    assert record.status == 499


async def _first_bytes(gateway: RunningGateway, stream: bool) -> None:
    """Read the start of an answer and leave."""
    async with gateway.ask(stream=stream) as answer:
        await answer.content.readany()
        answer.close()


async def test_a_dead_replica_is_replaced_by_another(
    memory_uow: UnitOfWorkFactory, small: ScriptedEngine
) -> None:
    seed_classifier(memory_uow)
    _, alive = seed_plan(memory_uow, {"small": [DEAD_PORT, small.port]})
    async with running_gateway(memory_uow) as gateway:
        for _ in range(4):
            async with gateway.ask() as answer:
                assert answer.status == 200
                assert answer.headers["X-BOute-Replica"] == alive.replica_id


async def test_equally_busy_replicas_take_turns(memory_uow: UnitOfWorkFactory) -> None:
    async with ScriptedEngine() as one, ScriptedEngine() as two:
        seed_plan(memory_uow, {"small": [one.port, two.port]})
        async with running_gateway(memory_uow) as gateway:
            for _ in range(6):
                async with gateway.ask(model="small") as answer:
                    assert answer.status == 200
        assert (len(one.seen), len(two.seen)) == (3, 3)


async def test_a_busy_replica_is_spared(memory_uow: UnitOfWorkFactory) -> None:
    async with ScriptedEngine() as one, ScriptedEngine() as two:
        seed_plan(memory_uow, {"small": [one.port, two.port]})
        async with running_gateway(memory_uow) as gateway:
            one.hold.clear()
            two.hold.clear()
            waiting = [asyncio.create_task(_whole(gateway)) for _ in range(6)]
            await eventually(lambda: len(one.seen) + len(two.seen) == 6)
            assert (len(one.seen), len(two.seen)) == (3, 3)
            one.hold.set()
            await eventually(lambda: sum(task.done() for task in waiting) == 3)
            assert await _whole(gateway) == 200
            assert (len(one.seen), len(two.seen)) == (4, 3)
            two.hold.set()
            assert await asyncio.gather(*waiting) == [200] * 6


async def _whole(gateway: RunningGateway) -> int:
    async with gateway.ask(model="small") as answer:
        await answer.read()
        return answer.status


async def test_no_living_replica_is_502(memory_uow: UnitOfWorkFactory) -> None:
    seed_classifier(memory_uow)
    seed_plan(memory_uow, {"small": [DEAD_PORT]})
    async with running_gateway(memory_uow) as gateway:
        async with gateway.ask() as answer:
            assert answer.status == 502
            assert (await error_of(answer))["code"] == "replica_unreachable"
            assert answer.headers["X-BOute-Model"] == "small"
        [record] = await gateway.records()
        assert (record.status, record.model, record.query_class) == (502, "", "easy")


async def test_a_cut_before_any_byte_is_tried_once_more(
    gateway: RunningGateway, small: ScriptedEngine
) -> None:
    small.drop_after = 0
    async with gateway.ask() as answer:
        assert answer.status == 502
    assert len(small.seen) == 2


async def test_a_cut_in_the_middle_is_told_in_the_stream(
    gateway: RunningGateway, small: ScriptedEngine
) -> None:
    small.drop_after = 2
    async with gateway.ask(stream=True) as answer:
        *said, last, _ = (await answer.read()).split(b"\n\n")
    assert len(said) == 2
    assert json.loads(last.removeprefix(b"data: "))["error"]["type"] == "upstream_error"
    [record] = await gateway.records()
    assert record.status == 502


async def test_errors_of_the_engine_pass_through(
    gateway: RunningGateway, small: ScriptedEngine
) -> None:
    small.status = 418
    async with gateway.ask(stream=True) as answer:
        assert answer.status == 418
        assert (await error_of(answer))["message"] == "scripted"
    [record] = await gateway.records()
    assert (record.status, record.model) == (418, "small")


async def test_a_large_body_goes_through(gateway: RunningGateway, small: ScriptedEngine) -> None:
    padding = "a" * 3 * 1024**2
    body = {"model": "small", "prompt": EASY_TEXT, "user": padding}
    data = io.BytesIO(json.dumps(body).encode())
    headers = {"Content-Type": "application/json"}
    url = f"{gateway.url}/v1/completions"
    async with gateway.client.post(url, data=data, headers=headers) as answer:
        assert answer.status == 200
    assert small.seen[0]["user"] == padding


async def test_unknown_model_is_404(gateway: RunningGateway) -> None:
    async with gateway.ask(model="gpt-9") as answer:
        assert answer.status == 404
        error = await error_of(answer)
    assert error["code"] == "model_not_found"
    assert "large, small" in error["message"]


async def test_no_plan_is_503(memory_uow: UnitOfWorkFactory) -> None:
    async with running_gateway(memory_uow) as gateway:
        async with gateway.ask() as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert (await error_of(answer))["code"] == "no_active_plan"
        async with gateway.client.get(f"{gateway.url}/ready") as answer:
            assert answer.status == 503
        async with gateway.client.get(f"{gateway.url}/health") as answer:
            assert answer.status == 200


@pytest.mark.parametrize(("model", "named"), [("large", "'large'"), ("auto", "large")])
async def test_no_ready_replica_is_503_and_names_the_model(
    memory_uow: UnitOfWorkFactory, small: ScriptedEngine, model: str, named: str
) -> None:
    seed_classifier(memory_uow)
    seed_plan(memory_uow, {"small": [small.port]})
    async with running_gateway(memory_uow) as gateway, gateway.ask(HARD_TEXT, model) as answer:
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0
        error = await error_of(answer)
    assert error["code"] == "no_ready_replica"
    assert named in error["message"]


async def test_without_a_classifier_the_plan_is_still_followed(
    memory_uow: UnitOfWorkFactory, small: ScriptedEngine, large: ScriptedEngine
) -> None:
    seed_plan(memory_uow, {"small": [small.port], "large": [large.port]})
    async with running_gateway(memory_uow) as gateway, gateway.ask() as answer:
        assert answer.status == 200
        assert "X-BOute-Class" not in answer.headers


async def test_a_damaged_classifier_does_not_hide_the_plan(
    memory_uow: UnitOfWorkFactory, small: ScriptedEngine, large: ScriptedEngine
) -> None:
    seed_classifier(memory_uow, b"damaged")
    seed_plan(memory_uow, {"small": [small.port], "large": [large.port]})
    async with running_gateway(memory_uow) as gateway, gateway.ask() as answer:
        assert answer.status == 200


async def test_a_view_that_changes(
    memory_uow: UnitOfWorkFactory, gateway: RunningGateway, small: ScriptedEngine
) -> None:
    async with gateway.client.get(f"{gateway.url}/v1/models") as answer:
        names = [model["id"] for model in (await answer.json())["data"]]
    assert names == ["auto", "large", "small"]
    with memory_uow() as work:
        [old] = [r for r in work.replicas.unfinished() if r.kind.model == "small"]
        work.replicas.set_wanted(old.replica_id, False)
        work.replicas.transition(old.replica_id, [ReplicaState.READY], ReplicaState.DRAINING)
        new = ready("small", small.port, utc_now())
        work.replicas.add(new)
        work.commit()
    await gateway.refresh()
    async with gateway.ask() as answer:
        assert answer.headers["X-BOute-Replica"] == new.replica_id


async def test_an_outage_of_the_database_stops_nothing(
    memory_uow: UnitOfWorkFactory, small: ScriptedEngine
) -> None:
    away = False

    def database() -> UnitOfWork:
        if away:
            raise EnvironmentFailed("The database does not answer.")
        return memory_uow()

    seed_classifier(memory_uow)
    seed_plan(memory_uow, {"small": [small.port]})
    async with running_gateway(database) as gateway:
        away = True
        assert not await gateway.gateway.keeper.refresh()
        async with gateway.ask() as answer:
            assert answer.status == 200
        assert not await gateway.gateway.records.flush()
        away = False
        [record] = await gateway.records()
        assert record.request_id == answer.headers["X-BOute-Request-Id"]


async def test_records_are_written_when_the_gateway_stops(
    memory_uow: UnitOfWorkFactory, small: ScriptedEngine
) -> None:
    seed_classifier(memory_uow)
    seed_plan(memory_uow, {"small": [small.port]})
    opened = running_gateway(memory_uow, log_prompts=True)
    async with opened as gateway, gateway.ask("1 + 1 \0 \ud800") as answer:
        assert answer.status == 200
    with memory_uow() as work:
        [record] = work.requests.latest()
    assert record.prompt == "1 + 1 \ufffd ?"


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"{}", {}, 400),
        (b"model=small", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (gzip.compress(b"{}"), {"Content-Encoding": "gzip"}, 415),
        (b'{"model": "auto", "x": "' + b"a" * 5 * 1024**2 + b'"}', {}, 413),
    ],
)
async def test_unusable_requests(
    gateway: RunningGateway, body: bytes, headers: dict[str, str], status: int
) -> None:
    url = f"{gateway.url}/v1/chat/completions"
    sent = {"Content-Type": "application/json", **headers}
    async with gateway.client.post(url, data=io.BytesIO(body), headers=sent) as answer:
        assert answer.status == status
        assert (await error_of(answer))["type"] == "invalid_request_error"
    [record] = await gateway.records()
    assert (record.status, record.model) == (status, "")


async def test_wrong_paths_and_methods_look_like_openai_too(gateway: RunningGateway) -> None:
    async with gateway.client.get(f"{gateway.url}/v1/chat/completions") as answer:
        assert answer.status == 405
        await error_of(answer)
    async with gateway.client.post(f"{gateway.url}/v1/embeddings") as answer:
        assert answer.status == 404
        await error_of(answer)


async def test_front_page_and_metrics(gateway: RunningGateway) -> None:
    async with gateway.ask() as answer:
        assert answer.status == 200
    async with gateway.client.get(gateway.url) as answer:
        assert "POST /v1/chat/completions" in (await answer.json())["endpoints"]
    async with gateway.client.get(f"{gateway.url}/metrics") as answer:
        text = await answer.text()
    counted = 'boute_gateway_requests_total{model="small",query_class="easy",status="200"} 1.0'
    assert counted in text
    assert "boute_gateway_in_flight 0.0" in text
