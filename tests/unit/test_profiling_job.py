"""The profile job against a server over HTTP and a real database."""

from collections.abc import Iterator

import pytest

from core.domain.job import JobKind
from core.domain.profile import Profile, Provenance
from core.domain.quality import Query, QuerySet
from core.errors import Cancelled, EngineFailed, NotFound
from core.ports import UnitOfWorkFactory
from core.profiling.job import ProfileJob
from tests.fakes.job_context import MEMORY_BYTES, STARTUP_S, RunningReplicas, running_job
from tests.fakes.openai_stub import OpenAIStub, in_thread

PARAMS = {
    "model": "small",
    "sku": "cpu-core",
    "tp": 1,
    "query_set": "q",
    "concurrencies": [1, 4],
    "seconds_per_level": 0.6,
}


@pytest.fixture
def stub() -> Iterator[OpenAIStub]:
    with in_thread(OpenAIStub(("small",), ttft_ms=10, tpot_ms=1)) as stub:
        yield stub


@pytest.fixture
def uow(sqlite_uow: UnitOfWorkFactory) -> UnitOfWorkFactory:
    queries = (Query("1 + 1?", "easy", "2"), Query("12 + 34?", "hard", "46"))
    with sqlite_uow() as work:
        work.query_sets.save(QuerySet("q", "numeric", 16, queries))
        work.commit()
    return sqlite_uow


def context_for(uow: UnitOfWorkFactory, stub: OpenAIStub) -> RunningReplicas:
    return RunningReplicas(running_job(JobKind.PROFILE, PARAMS), uow, {"small": [stub.base_url]})


def stored(context: RunningReplicas) -> Profile:
    with context.uow() as work:
        found = work.profiles.get(context.job.job_id)
    assert found is not None
    return found


def test_a_profile_is_measured_level_by_level(uow: UnitOfWorkFactory, stub: OpenAIStub) -> None:
    context, body = context_for(uow, stub), ProfileJob()
    steps = body.steps(context.job)
    assert steps == ["start", "level:1", "level:4", "finish"]
    results = [body.run(step, context) for step in steps]
    profile = stored(context)
    assert profile.provenance is Provenance.MEASURED
    assert (profile.model, profile.sku, profile.tp, profile.pp) == ("small", "cpu-core", 1, 1)
    assert profile.engine == "stub 1.0"
    assert profile.host
    assert profile.startup_s == pytest.approx(STARTUP_S, abs=0.1)
    assert [level.concurrency for level in profile.levels] == [1, 4]
    for level in profile.levels:
        assert level.requests > 0
        assert level.errors == 0
        assert level.memory_bytes == MEMORY_BYTES
        assert level.ttft_ms.p50 >= 9
        assert level.output_tokens_mean == 4
    assert stub.most_in_flight == 4
    assert {body["messages"][0]["content"] for body in stub.seen} == {"1 + 1?", "12 + 34?"}
    assert results[-1]["levels"] == 2
    with uow() as work:
        assert [p.profile_id for p in work.profiles.latest()] == [context.job.job_id]


def test_progress_rises_and_tells_what_was_seen(uow: UnitOfWorkFactory, stub: OpenAIStub) -> None:
    context, body = context_for(uow, stub), ProfileJob()
    for step in body.steps(context.job):
        body.run(step, context)
    fractions = [fraction for fraction, _ in context.reports]
    assert fractions == sorted(fractions)
    assert fractions[-1] < 1
    last = context.reports[-1][1]
    assert last.startswith("Level 4: ")
    assert "req/s, TTFT p50" in last


def test_a_step_that_runs_again_does_not_double_its_level(
    uow: UnitOfWorkFactory, stub: OpenAIStub
) -> None:
    context, body = context_for(uow, stub), ProfileJob()
    for step in ("start", "level:4", "level:1", "level:4"):
        body.run(step, context)
    assert [level.concurrency for level in stored(context).levels] == [1, 4]


def test_cancelling_keeps_the_levels_measured_before(
    uow: UnitOfWorkFactory, stub: OpenAIStub
) -> None:
    context, body = context_for(uow, stub), ProfileJob()
    body.run("start", context)
    body.run("level:1", context)
    context.cancel_after = len(context.reports)
    with pytest.raises(Cancelled):
        body.run("level:4", context)
    assert [level.concurrency for level in stored(context).levels] == [1]


def test_failures_in_a_level_are_counted(uow: UnitOfWorkFactory, stub: OpenAIStub) -> None:
    stub.fail = dict.fromkeys(range(2, 10_000, 5), "status")
    context, body = context_for(uow, stub), ProfileJob()
    body.run("start", context)
    result = body.run("level:4", context)
    [level] = stored(context).levels
    assert level.errors == result["errors"] > 0
    assert level.requests > level.errors
    assert f"{level.errors} failed" in context.reports[-1][1]


def test_a_level_of_failures_only_ends_the_job_with_a_remedy(
    uow: UnitOfWorkFactory, stub: OpenAIStub
) -> None:
    stub.fail = "status"
    context, body = context_for(uow, stub), ProfileJob()
    body.run("start", context)
    with pytest.raises(EngineFailed, match="HTTP 500") as failed:
        body.run("level:1", context)
    assert "log" in failed.value.hint
    assert stored(context).levels == ()


def test_answers_longer_than_the_level_end_the_job_with_a_remedy(
    uow: UnitOfWorkFactory, stub: OpenAIStub
) -> None:
    stub.ttft_ms = 1500
    context, body = context_for(uow, stub), ProfileJob()
    body.run("start", context)
    with pytest.raises(EngineFailed, match="No answer ended within") as failed:
        body.run("level:1", context)
    assert "Lengthen" in failed.value.hint


def test_a_query_set_that_is_gone_is_named(
    sqlite_uow: UnitOfWorkFactory, stub: OpenAIStub
) -> None:
    context, body = context_for(sqlite_uow, stub), ProfileJob()
    body.run("start", context)
    with pytest.raises(NotFound, match="query set"):
        body.run("level:1", context)


def test_a_replica_that_does_not_start_leaves_no_profile(uow: UnitOfWorkFactory) -> None:
    context = RunningReplicas(running_job(JobKind.PROFILE, PARAMS), uow, {})
    with pytest.raises(EngineFailed):
        ProfileJob().run("start", context)
    with uow() as work:
        assert work.profiles.all() == []
