"""A cascade of the built-in models through the gateway, on real vLLM."""

import json
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from core.domain.deployment import Replica
from core.domain.plan import Route, make_plan
from core.entrypoints.bench.cascade import SMALL
from core.entrypoints.bench.replica import LARGE, ReplicaSetup, running_replicas
from core.ports import UnitOfWorkFactory
from core.profiling.client import Answer, ask, open_session
from core.settings import load_settings
from tests.fakes.gateway_world import RunningGateway, running_gateway, seed_plan

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

EASY, HARD = "What is 3 + 4?", "What is 47 + 86 - 25 + 31?"
RIGHT = {EASY: "Answer: 7.", HARD: "Answer: 139."}


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Replica]]:
    settings = load_settings({"BOUTE_HOME": str(tmp_path_factory.mktemp("home"))})
    cores = sorted(os.sched_getaffinity(0))
    setups = [ReplicaSetup(SMALL, cores[0]), ReplicaSetup(LARGE, cores[-1])]
    with running_replicas(setups, settings) as started:
        yield {replica.kind.model: replica for replica in started}


async def direct(replica: Replica, text: str) -> Answer:
    async with open_session() as session:
        model = replica.kind.model
        return await ask(session, replica.base_url, model, text, 80, logprobs=True)


@pytest.fixture
async def gateway(
    memory_uow: UnitOfWorkFactory, replicas: dict[str, Replica]
) -> AsyncIterator[RunningGateway]:
    """The threshold lies between how sure the small model is of the two questions."""
    sure, unsure = [await direct(replicas["small"], text) for text in (EASY, HARD)]
    assert sure.confidence is not None
    assert unsure.confidence is not None
    assert unsure.confidence < sure.confidence <= 0
    threshold = (sure.confidence + unsure.confidence) / 2
    kinds = {replica.kind: 1 for replica in replicas.values()}
    plan = make_plan(kinds, {}, [Route("all", "small", 1.0, "large", threshold)])
    ports = {model: [replica.port or 0] for model, replica in replicas.items()}
    seed_plan(memory_uow, ports, plan)
    async with running_gateway(memory_uow) as running:
        yield running


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("text", "model"), [(EASY, "small"), (HARD, "large")])
async def test_sure_answers_are_kept_and_unsure_ones_escalate(
    gateway: RunningGateway, text: str, model: str, stream: bool
) -> None:
    fields = {"stream": stream, "max_tokens": 80, "temperature": 0}
    async with gateway.ask(text, **fields) as answer:
        content = await answer.text()
        headers = answer.headers
    assert (answer.status, headers["X-BOute-Model"]) == (200, model)
    assert headers.get("X-BOute-Escalated-From") == ("small" if model == "large" else None)
    assert float(headers["X-BOute-Confidence"]) <= 0
    assert RIGHT[text] in _said(content, stream)
    assert '"logprob":' not in content
    [record] = await gateway.records()
    assert record.output_tokens
    assert (record.first_output_tokens or 0) > 0 or model == "small"


async def test_the_text_endpoint(gateway: RunningGateway) -> None:
    body = {"model": "auto", "prompt": f"{EASY}\n", "max_tokens": 80, "temperature": 0}
    async with gateway.client.post(f"{gateway.url}/v1/completions", json=body) as answer:
        found = await answer.json()
    assert answer.headers["X-BOute-Model"] == "small"
    assert float(answer.headers["X-BOute-Confidence"]) <= 0
    assert RIGHT[EASY] in found["choices"][0]["text"]
    assert found["choices"][0]["logprobs"] is None


@pytest.mark.parametrize("stream", [False, True])
async def test_who_asks_for_log_probabilities_gets_them(
    gateway: RunningGateway, stream: bool
) -> None:
    fields = {"stream": stream, "logprobs": True, "max_tokens": 80, "temperature": 0}
    async with gateway.ask(EASY, **fields) as answer:
        content = await answer.text()
    assert content.count('"logprob":') > 10


def _said(content: str, stream: bool) -> str:
    if not stream:
        return str(json.loads(content)["choices"][0]["message"]["content"])
    events = [line.removeprefix("data: ") for line in content.split("\n\n") if line]
    assert events[-1] == "[DONE]"
    deltas = [choice["delta"] for e in events[:-1] for choice in json.loads(e)["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)
