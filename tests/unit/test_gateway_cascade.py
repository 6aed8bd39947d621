"""Cascades through a running gateway: what callers get, what is asked, what is written down."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from core.domain.cascade import CascadeEstimate
from core.domain.fleet import Price
from core.domain.ids import utc_now
from core.domain.plan import ReplicaKind, Route, make_plan
from core.domain.quality import QualityEstimate
from core.domain.traffic import RequestRecord
from core.ports import UnitOfWorkFactory
from core.routing.answer_lengths import ENOUGH, ROOM
from tests.contract import samples
from tests.fakes.gateway_world import (
    DEAD_PORT,
    EASY_TEXT,
    HARD_TEXT,
    RunningGateway,
    eventually,
    ready,
    running_gateway,
    seed_classifier,
    seed_key,
    seed_plan,
)
from tests.fakes.scripted_engine import PROMPT_TOKENS, USAGE, WORDS, ScriptedEngine, events

THRESHOLD = -0.5
PLAN = make_plan(
    {ReplicaKind("small", "cpu-core"): 1, ReplicaKind("large", "cpu-core"): 1},
    {"hard": {"large": 1.0}},
    [Route("easy", "small", 1.0, "large", THRESHOLD)],
)
SURE, UNSURE = -0.25, -0.75
SAID = "".join(WORDS)


@pytest.fixture
async def small() -> AsyncIterator[ScriptedEngine]:
    async with ScriptedEngine() as engine:
        engine.logprob = SURE
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
    seed_plan(memory_uow, {"small": [small.port], "large": [large.port]}, PLAN)
    with memory_uow() as work:
        work.prices.add(Price("cpu-core", 3.6, utc_now()))
        for model in ("small", "large"):
            work.profiles.save(samples.profile(model, model=model, step=None))
        work.commit()
    async with running_gateway(memory_uow) as running:
        yield running


def without_request_id(headers: Any) -> dict[str, str]:
    return {k.removeprefix("X-BOute-"): v for k, v in headers.items() if k.startswith("X-BOute-")}


async def test_a_sure_answer_is_given_as_if_nothing_had_been_asked(
    gateway: RunningGateway, small: ScriptedEngine, large: ScriptedEngine
) -> None:
    async with gateway.ask() as answer:
        body = await answer.json()
        told = without_request_id(answer.headers)
    assert body["choices"][0] == {
        "index": 0,
        "message": {"role": "assistant", "content": SAID},
        "logprobs": None,
    }
    assert (told["Model"], told["Class"], told["Confidence"]) == ("small", "easy", "-0.2500")
    assert "Escalated-From" not in told
    assert small.seen[0]["logprobs"] is True
    assert body["usage"] == USAGE
    assert not large.seen
    [record] = await gateway.records()
    assert (record.model, record.status, record.confidence) == ("small", 200, SURE)
    assert (record.first_model, record.first_cost_usd) == ("", None)
    assert (record.input_tokens, record.output_tokens) == (PROMPT_TOKENS, len(WORDS))
    assert record.cost_usd


async def test_an_unsure_answer_is_thrown_away(
    gateway: RunningGateway, small: ScriptedEngine, large: ScriptedEngine
) -> None:
    small.logprob = UNSURE
    async with gateway.ask() as answer:
        assert (await answer.json())["model"] == "large"
        told = without_request_id(answer.headers)
    assert (told["Model"], told["Escalated-From"]) == ("large", "small")
    assert told["Confidence"] == "-0.7500"
    assert "logprobs" not in large.seen[0]
    [record] = await gateway.records()
    assert (record.model, record.first_model, record.confidence) == ("large", "small", UNSURE)
    assert (record.first_input_tokens, record.first_output_tokens) == (PROMPT_TOKENS, len(WORDS))
    assert record.cost_usd
    assert record.first_cost_usd == pytest.approx(record.cost_usd)
    assert record.ttft_ms is not None


@pytest.mark.parametrize("usage", [True, False])
async def test_a_sure_stream_is_replayed_as_the_engine_would_have_sent_it(
    gateway: RunningGateway, large: ScriptedEngine, usage: bool
) -> None:
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if usage else {}
    async with gateway.ask(stream=True, **options) as answer:
        assert answer.content_type == "text/event-stream"
        came = [line for line in (await answer.read()).split(b"\n\n") if line]
    sent = [
        line for line in b"".join(events({"model": "small", **options})).split(b"\n\n") if line
    ]
    told = [_plain(line) for line in came]
    assert told == [_plain(line) for line in sent]
    assert not large.seen


def _plain(line: bytes) -> Any:
    """An event without the empty field that an engine adds when it could tell more."""
    data = line.removeprefix(b"data: ")
    if data == b"[DONE]":
        return data
    event = json.loads(data)
    for choice in event["choices"]:
        assert choice.pop("logprobs", None) is None
    return event


async def test_an_escalated_stream_is_live(
    gateway: RunningGateway, small: ScriptedEngine, large: ScriptedEngine
) -> None:
    small.logprob = UNSURE
    large.hold.clear()
    async with gateway.ask(stream=True) as answer:
        first = await answer.content.readuntil(b"\n\n")
        assert b'"large"' in first
        assert b"logprobs" not in first
        assert answer.headers["X-BOute-Escalated-From"] == "small"
        large.hold.set()
        assert (await answer.read()).endswith(b"data: [DONE]\n\n")
    [record] = await gateway.records()
    assert (record.streamed, record.first_output_tokens) == (True, len(WORDS))


async def test_the_text_endpoint_cascades_too(
    gateway: RunningGateway, small: ScriptedEngine, large: ScriptedEngine
) -> None:
    body = {"model": "auto", "prompt": EASY_TEXT}
    for logprob, model in ((SURE, "small"), (UNSURE, "large")):
        small.logprob = logprob
        async with gateway.client.post(f"{gateway.url}/v1/completions", json=body) as answer:
            assert answer.headers["X-BOute-Model"] == model
            assert (await answer.json())["choices"][0]["logprobs"] is None
    assert [seen["logprobs"] for seen in small.seen] == [0, 0]
    assert "logprobs" not in large.seen[0]


@pytest.mark.parametrize("stream", [True, False])
async def test_callers_who_ask_for_log_probabilities_get_them(
    gateway: RunningGateway, small: ScriptedEngine, stream: bool
) -> None:
    async with gateway.ask(stream=stream, logprobs=True, top_logprobs=3) as answer:
        content = await answer.read()
    assert content.count(b'"logprob":') == len(WORDS)
    assert small.seen[0]["top_logprobs"] == 3


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("failure", ["status", "cut", "silent about it", "dead"])
async def test_a_first_model_that_fails_is_no_failure(
    gateway: RunningGateway, small: ScriptedEngine, failure: str, stream: bool
) -> None:
    if failure == "status":
        small.status = 418
    elif failure == "cut":
        small.drop_after = 2
    elif failure == "dead":
        await small.stop()
    else:
        small.logprob = None
    async with gateway.ask(stream=stream) as answer:
        assert answer.status == 200
        assert b"large" in await answer.read()
        assert answer.headers["X-BOute-Escalated-From"] == "small"
        assert "X-BOute-Confidence" not in answer.headers
    [record] = await gateway.records()
    assert (record.model, record.first_model, record.confidence) == ("large", "small", None)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_first_model_is_stopped_as_soon_as_its_answer_is_lost(
    gateway: RunningGateway, small: ScriptedEngine, stream: bool
) -> None:
    """It would never get past its first token; that one alone makes the mean too low."""
    small.logprob = 5 * THRESHOLD
    small.hold.clear()
    async with gateway.ask(stream=stream, max_tokens=len(WORDS)) as answer:
        assert b"large" in await answer.read()
    await eventually(lambda: small.stopped_early == 1)
    [record] = await gateway.records()
    assert (record.first_model, record.first_output_tokens) == ("small", 1)
    assert (record.first_input_tokens, record.status) == (PROMPT_TOKENS, 200)
    assert record.first_cost_usd
    assert record.cost_usd
    assert record.first_cost_usd < record.cost_usd


async def test_no_answer_is_waited_for_that_would_have_to_get_much_longer_than_others(
    gateway: RunningGateway, small: ScriptedEngine
) -> None:
    for _ in range(ENOUGH):
        async with gateway.ask() as answer:
            assert answer.headers["X-BOute-Model"] == "small"
    small.logprob = 2 * ROOM * len(WORDS) * THRESHOLD  # too low for so many tokens to mend
    small.hold.clear()
    async with gateway.ask() as answer:
        assert answer.headers["X-BOute-Model"] == "large"
    await eventually(lambda: small.stopped_early == 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"n": 2},
        {"best_of": 3},
        {"logit_bias": {"5": 10}},
        {"logits_processors": ["x"]},
        {"response_format": {"type": "json_object"}},
        {"structured_outputs": {"regex": "a+"}},
    ],
)
async def test_what_cannot_be_judged_goes_straight_to_the_better_model(
    gateway: RunningGateway, small: ScriptedEngine, large: ScriptedEngine, fields: dict[str, Any]
) -> None:
    async with gateway.ask(**fields) as answer:
        assert answer.headers["X-BOute-Model"] == "large"
    assert not small.seen
    assert fields.items() <= large.seen[0].items()
    async with gateway.ask(n=1, tools=[], response_format={"type": "text"}) as answer:
        assert answer.headers["X-BOute-Model"] == "small"


async def test_a_plain_route_asks_for_nothing(
    gateway: RunningGateway, large: ScriptedEngine
) -> None:
    async with gateway.ask(HARD_TEXT) as answer:
        assert "X-BOute-Confidence" not in answer.headers
    assert set(large.seen[0]) == {"model", "messages"}
    async with gateway.ask(model="small") as answer:
        assert "X-BOute-Confidence" not in answer.headers


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("where", ["first", "second"])
async def test_a_caller_who_leaves_stops_whichever_engine_is_at_work(
    gateway: RunningGateway,
    small: ScriptedEngine,
    large: ScriptedEngine,
    where: str,
    stream: bool,
) -> None:
    engine = small if where == "first" else large
    small.logprob = UNSURE
    engine.hold.clear()
    asking = asyncio.create_task(_ask(gateway, stream))
    await eventually(lambda: len(engine.seen) == 1)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await eventually(lambda: engine.stopped_early == 1)
    records: list[RequestRecord] = []

    async def recorded() -> bool:
        records[:] = await gateway.records()
        return bool(records)

    for _ in range(200):
        if await recorded():
            break
        await asyncio.sleep(0.01)
    [record] = records
    assert record.status == 499
    assert record.first_model == ("" if where == "first" else "small")
    if where == "second":
        assert record.first_cost_usd


async def _ask(gateway: RunningGateway, stream: bool) -> None:
    async with gateway.ask(stream=stream) as answer:
        await answer.read()


async def test_both_calls_are_on_the_bill(
    gateway: RunningGateway, memory_uow: UnitOfWorkFactory, small: ScriptedEngine
) -> None:
    issued = seed_key(memory_uow, tokens_per_minute=1000, budget_usd_per_month=100.0)
    await gateway.refresh()
    small.logprob = UNSURE
    async with gateway.ask(key=issued.secret) as answer:
        assert answer.status == 200
    await gateway.records()
    async with gateway.get("/v1/usage", issued.secret) as answer:
        days = {day["model"]: day for day in (await answer.json())["data"]}
    assert {name: day["requests"] for name, day in days.items()} == {"large": 1, "small": 0}
    assert days["small"]["output_tokens"] == days["large"]["output_tokens"] == len(WORDS)
    assert days["small"]["cost_usd"] == pytest.approx(days["large"]["cost_usd"])
    async with gateway.get("/metrics") as answer:
        text = await answer.text()
    labels = '{model="small",outcome="escalated",query_class="easy"}'
    assert f"boute_gateway_cascades_total{labels} 1.0" in text


@pytest.mark.parametrize(("lower", "wanted"), [(0.9, "small"), (0.7, "large")])
async def test_a_floor_is_held_by_what_the_whole_cascade_promises(
    gateway: RunningGateway, memory_uow: UnitOfWorkFactory, lower: float, wanted: str
) -> None:
    """The small model alone is below the floor either way."""
    issued = seed_key(memory_uow, quality_floor=0.8)
    promised = CascadeEstimate("easy", "small", "large", THRESHOLD, 0.2, 90, 0.95, lower, 1.0)
    with memory_uow() as work:
        work.outcomes.replace_cascades(["easy"], [promised])
        for model, bound in (("small", 0.5), ("large", 0.85)):
            work.outcomes.save_estimate(
                QualityEstimate(model, "easy", 100, 0.9, bound, 1.0, 24.5, utc_now())
            )
        work.commit()
    await gateway.refresh()
    async with gateway.ask(key=issued.secret) as answer:
        assert answer.headers["X-BOute-Model"] == wanted
    assert ("X-BOute-Confidence" in answer.headers) == (wanted == "small")


async def test_half_a_cascade_answers_alone(
    memory_uow: UnitOfWorkFactory, small: ScriptedEngine, large: ScriptedEngine
) -> None:
    seed_classifier(memory_uow)
    [one] = seed_plan(memory_uow, {"small": [small.port]}, PLAN)
    small.logprob = UNSURE
    async with running_gateway(memory_uow) as gateway:
        async with gateway.ask() as answer:
            assert (await answer.json())["model"] == "small"
            assert "X-BOute-Confidence" not in answer.headers
        with memory_uow() as work:
            work.replicas.set_wanted(one.replica_id, False)
            work.replicas.add(ready("large", large.port, utc_now()))
            work.commit()
        await gateway.refresh()
        async with gateway.ask() as answer:
            assert (await answer.json())["model"] == "large"


async def test_when_the_better_model_is_gone_the_first_one_answers_after_all(
    memory_uow: UnitOfWorkFactory, small: ScriptedEngine
) -> None:
    seed_classifier(memory_uow)
    seed_plan(memory_uow, {"small": [small.port], "large": [DEAD_PORT]}, PLAN)
    small.logprob = UNSURE
    async with running_gateway(memory_uow) as gateway:
        async with gateway.ask() as answer:
            assert (answer.status, answer.headers["X-BOute-Model"]) == (200, "small")
            assert answer.headers["X-BOute-Escalated-From"] == "small"
        [record] = await gateway.records()
    assert (record.model, record.first_model, record.confidence) == ("small", "small", UNSURE)
    assert [bool(body.get("logprobs")) for body in small.seen] == [True, False]
