"""Keys, tenants, floors and usage, through a running gateway."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from core.domain.fleet import Price
from core.domain.ids import utc_now
from core.domain.quality import QualityEstimate
from core.domain.tenant import digest_of
from core.ports import UnitOfWorkFactory
from core.services import tenants
from tests.contract import samples
from tests.fakes.gateway_world import (
    EASY_TEXT,
    HARD_TEXT,
    RunningGateway,
    running_gateway,
    seed_classifier,
    seed_key,
    seed_plan,
)
from tests.fakes.scripted_engine import PROMPT_TOKENS, WORDS, ScriptedEngine


@pytest.fixture
def world(memory_uow: UnitOfWorkFactory, engine_port: int) -> UnitOfWorkFactory:
    seed_classifier(memory_uow)
    seed_plan(memory_uow, {"small": [engine_port], "large": [engine_port]})
    return memory_uow


@pytest.fixture
async def engine_port() -> AsyncIterator[int]:
    async with ScriptedEngine() as engine:
        yield engine.port


async def code(gateway: RunningGateway, key: str = "", **fields: object) -> tuple[int, str]:
    async with gateway.ask(key=key, **fields) as answer:
        if answer.status == 200:
            return 200, ""
        body = await answer.json()
        return answer.status, body["error"]["code"]


async def test_where_keys_are_needed(world: UnitOfWorkFactory) -> None:
    issued = seed_key(world)
    async with running_gateway(world, api_keys=True) as gateway:
        assert await code(gateway) == (401, "invalid_api_key")
        assert await code(gateway, "boute-wrong") == (401, "invalid_api_key")
        assert await code(gateway, issued.secret) == (200, "")
        for path, status in (("/v1/models", 401), ("/v1/usage", 401), ("/health", 200)):
            async with gateway.get(path) as answer:
                assert answer.status == status
        async with gateway.get("/v1/models", issued.secret) as answer:
            assert answer.status == 200
        records = await gateway.records()
    assert [record.key_id for record in records] == ["", "", issued.key.key_id]
    assert records[-1].tenant_id == issued.key.tenant_id


async def test_a_key_that_was_revoked_or_whose_tenant_is_off(world: UnitOfWorkFactory) -> None:
    one, two = seed_key(world, "One"), seed_key(world, "Two")
    async with running_gateway(world, api_keys=True) as gateway:
        tenants.revoke_key(world, one.key.key_id, utc_now())
        tenants.set_enabled(world, two.key.tenant_id, False)
        await gateway.refresh()
        assert (await code(gateway, one.secret))[0] == 401
        assert (await code(gateway, two.secret))[0] == 401
        tenants.set_enabled(world, two.key.tenant_id, True)
        await gateway.refresh()
        assert (await code(gateway, two.secret))[0] == 200


async def test_where_none_is_needed_a_known_key_still_counts(world: UnitOfWorkFactory) -> None:
    issued = seed_key(world, requests_per_minute=1)
    async with running_gateway(world) as gateway:
        assert await code(gateway, "sk-anything") == (200, "")
        assert await code(gateway, issued.secret) == (200, "")
        assert await code(gateway, issued.secret) == (429, "rate_limit_exceeded")
        assert await code(gateway) == (200, "")
        records = await gateway.records()
    assert [r.key_id for r in records] == ["", issued.key.key_id, issued.key.key_id, ""]


async def test_a_budget_stops_a_tenant_and_no_other(world: UnitOfWorkFactory) -> None:
    with world() as work:
        # 3,600 $/h is 1 $/s, and a token takes 0.01 s on a kind without a profile.
        work.prices.add(Price("cpu-core", 3600.0, samples.NOW))
        work.commit()
    poor, rich = seed_key(world, "Poor", budget_usd_per_month=0.05), seed_key(world, "Rich")
    async with running_gateway(world, api_keys=True) as gateway:
        assert await code(gateway, poor.secret, max_tokens=4) == (200, "")
        assert await code(gateway, poor.secret, max_tokens=4) == (200, "")
        assert await code(gateway, poor.secret, max_tokens=4) == (429, "insufficient_quota")
        assert await code(gateway, rich.secret) == (200, "")
        records = await gateway.records()
    assert [r.cost_usd for r in records] == [pytest.approx(0.04)] * 2 + [None, pytest.approx(0.04)]
    month = tenants.usage_of_month(world, utc_now())
    assert month[poor.key.tenant_id].cost_usd == pytest.approx(0.08)
    async with running_gateway(world, api_keys=True) as later:
        assert await code(later, poor.secret) == (429, "insufficient_quota")


async def test_a_key_sees_its_own_usage_only(world: UnitOfWorkFactory) -> None:
    one = seed_key(world, "One")
    two = tenants.issue_key(world, one.key.tenant_id, "second", utc_now())
    async with running_gateway(world, api_keys=True) as gateway:
        for secret in (one.secret, one.secret, two.secret):
            assert await code(gateway, secret) == (200, "")
        await gateway.records()
        async with gateway.get("/v1/usage", one.secret) as answer:
            seen = await answer.json()
        assert seen["key"] == "test"
        [row] = seen["data"]
        assert (row["model"], row["requests"]) == ("small", 2)
        assert (row["input_tokens"], row["output_tokens"]) == (2 * PROMPT_TOKENS, 2 * len(WORDS))
        async with gateway.get("/v1/usage", two.secret) as answer:
            assert [row["requests"] for row in (await answer.json())["data"]] == [1]


async def test_a_quality_floor_moves_requests_to_a_better_model(world: UnitOfWorkFactory) -> None:
    with world() as work:
        for model, query_class, lower in (
            ("small", "easy", 0.6),
            ("large", "easy", 0.95),
            ("large", "hard", 0.7),
        ):
            known = QualityEstimate(model, query_class, 50, lower, lower, 1.0, 9.0, utc_now())
            work.outcomes.save_estimate(known)
        work.commit()
    strict, lax = seed_key(world, "A", quality_floor=0.9), seed_key(world, "B", quality_floor=0.5)
    async with running_gateway(world, api_keys=True) as gateway:
        for key, model in ((strict, "large"), (lax, "small")):
            async with gateway.ask(EASY_TEXT, key=key.secret) as answer:
                assert answer.headers["X-BOute-Model"] == model
                assert answer.headers["X-BOute-Class"] == "easy"
        async with gateway.ask(HARD_TEXT, key=strict.secret) as answer:
            assert answer.status == 503
            assert (await answer.json())["error"]["code"] == "quality_floor"
        async with gateway.ask(EASY_TEXT, "small", key=strict.secret) as answer:
            assert answer.status == 200


async def test_secrets_are_kept_nowhere(world: UnitOfWorkFactory) -> None:
    issued = seed_key(world)
    assert issued.secret.startswith("boute-")
    assert len(issued.secret) > 40
    [key] = tenants.keys(world)
    assert key.digest == digest_of(issued.secret)
    assert issued.secret not in repr(key)
    assert issued.secret.endswith(key.hint)
    async with running_gateway(world, api_keys=True, log_prompts=True) as gateway:
        assert await code(gateway, issued.secret) == (200, "")
        [record] = await gateway.records()
        async with gateway.get("/metrics") as answer:
            told = await answer.text()
    assert issued.secret not in repr(record)
    assert "Team" not in told
    assert issued.key.tenant_id not in told


async def test_a_caller_who_leaves_pays_for_what_was_made(world: UnitOfWorkFactory) -> None:
    with world() as work:
        work.prices.add(Price("cpu-core", 3600.0, samples.NOW))
        work.commit()
    issued = seed_key(world)
    async with running_gateway(world, api_keys=True) as gateway:
        async with gateway.ask(key=issued.secret, stream=True) as answer:
            await answer.content.readuntil(b"\n\n")
            answer.close()
        for _ in range(500):
            if records := await gateway.records():
                break
            await asyncio.sleep(0.01)
    assert records[0].cost_usd is not None
    assert records[0].cost_usd > 0


async def test_cost_is_unknown_without_a_price(world: UnitOfWorkFactory) -> None:
    async with running_gateway(world) as gateway:
        assert await code(gateway) == (200, "")
        [record] = await gateway.records()
    assert record.cost_usd is None
