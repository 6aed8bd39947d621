"""The profile job against a server over HTTP and a real database."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest

from core.domain.catalog import ModelSpec
from core.domain.deployment import ReplicaState, job_owner
from core.domain.fleet import Price
from core.domain.ids import utc_now
from core.domain.job import JobKind
from core.domain.profile import EngineLimits, Profile, Provenance
from core.domain.quality import Query, QuerySet
from core.errors import Cancelled, EngineFailed, NotFound
from core.ports import UnitOfWorkFactory
from core.profiling.client import Answer
from core.profiling.job import ProfileJob
from core.profiling.levels import Load, LoadKind
from core.profiling.load import Run, Sent
from core.profiling.measuring import Measured
from core.profiling.stopping import counted_closed
from tests.fakes.job_context import MEMORY_BYTES, STARTUP_S, RunningReplicas, running_job
from tests.fakes.openai_stub import OpenAIStub, in_thread

MODEL = ModelSpec("small", "small", 0, 0, max_model_len=64, max_num_seqs=4, added_at=utc_now())
PARAMS = {
    "model": "small",
    "sku": "cpu-core",
    "tp": 1,
    "query_set": "q",
    "concurrencies": [1, 4],
    "seconds_per_level": 0.6,
    "max_seconds": 60.0,
    "latency_budget_s": None,
}
# Lengths of 5 to 60 characters, and so tokens, and answers of as many words: no probe is needed.
VARIED = tuple(Query("1 " * (n + 2), "easy", "") for n in range(29))
ALIKE = (Query("1 + 1?", "easy", "2"), Query("12 + 34?", "hard", "46"))


def echo(model: str, text: str) -> str:
    return text.strip()


def server() -> OpenAIStub:
    return OpenAIStub(("small",), ttft_ms=30, tpot_ms=4, answer=echo, cache=(101, 16))


@pytest.fixture
def stub() -> Iterator[OpenAIStub]:
    with in_thread(server()) as stub:
        yield stub


@pytest.fixture
def uow(sqlite_uow: UnitOfWorkFactory) -> UnitOfWorkFactory:
    return filled(sqlite_uow)


def filled(uow: UnitOfWorkFactory) -> UnitOfWorkFactory:
    with uow() as work:
        work.query_sets.save(QuerySet("q", "numeric", 40, VARIED))
        work.models.save(MODEL)
        work.prices.add(Price("cpu-core", 3.6, utc_now() - timedelta(days=1)))
        work.commit()
    return uow


@dataclass(frozen=True)
class Finished:
    """A job that went well, from start to finish; several tests look at it."""

    context: RunningReplicas
    stub: OpenAIStub
    result: dict[str, Any]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    from db.migrate import upgrade
    from db.unit_of_work import disconnect, uow_factory

    url = f"sqlite:///{tmp_path_factory.mktemp('profile') / 'boute.db'}"
    upgrade(url)
    with in_thread(server()) as stub:
        context = context_for(filled(uow_factory(url)), stub, seconds_per_level=1.5)
        yield Finished(context, stub, run(context))
    disconnect(url)


def context_for(uow: UnitOfWorkFactory, stub: OpenAIStub, **params: object) -> RunningReplicas:
    job = running_job(JobKind.PROFILE, PARAMS | params)
    return RunningReplicas(job, uow, {"small": [stub.base_url]})


def job_body() -> ProfileJob:
    return ProfileJob(pause_s=0.0)


def stored(context: RunningReplicas) -> Profile:
    with context.uow() as work:
        found = work.profiles.get(context.job.job_id)
    assert found is not None
    return found


def loads_of(context: RunningReplicas) -> dict[str, int]:
    """How many answers of each load are stored."""
    with context.uow() as work:
        seen = work.profiles.observations(context.job.job_id)
    return {key: len(load) for key, load in seen.items()}


def run(context: RunningReplicas) -> dict[str, Any]:
    results = [job_body().run(step, context) for step in job_body().steps(context.job)]
    return results[-1]


def test_levels_that_were_chosen_are_measured(finished: Finished) -> None:
    profile, stub = stored(finished.context), finished.stub
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
        assert level.ttft_ms.p50 >= 29
        assert level.rate_rps is None
    assert stub.most_in_flight == 4
    assert {body["messages"][0]["content"] for body in stub.seen} <= {q.text for q in VARIED}
    assert len({body["cache_salt"] for body in stub.seen}) == len(stub.seen)
    assert finished.result["levels"] == 2
    assert finished.result["unanswered"] == []
    with finished.context.uow() as work:
        latest = work.profiles.latest()
    assert [p.profile_id for p in latest] == [finished.context.job.job_id]


def test_single_answers_are_kept_for_the_fit_warm_up_included(finished: Finished) -> None:
    with finished.context.uow() as work:
        seen = work.profiles.observations(finished.context.job.job_id)
    assert sorted(seen) == ["closed:1", "closed:4"]
    for level, load in zip(stored(finished.context).levels, seen.values(), strict=True):
        assert len(load) > level.requests
        assert list(load.sent_at_s) == sorted(load.sent_at_s)
        assert load.sent_at_s[0] < 0.1
        assert all(0.029 <= ttft <= e2e for ttft, e2e in zip(load.ttft_s, load.e2e_s, strict=True))


def test_a_step_time_model_is_fitted(finished: Finished) -> None:
    profile = stored(finished.context)
    assert profile.engine_limits == EngineLimits(4, 256, 100, 16)
    assert profile.step is not None
    assert profile.fit is not None
    assert profile.fit.requests == sum(loads_of(finished.context).values())
    assert profile.fit.e2e_median_error < 0.3
    assert profile.relative_error is not None
    assert 0 <= profile.relative_error < 0.3


def test_an_engine_that_hides_its_cache_is_measured_all_the_same(
    uow: UnitOfWorkFactory, stub: OpenAIStub
) -> None:
    stub.cache = None
    context = context_for(uow, stub)
    result = run(context)
    profile = stored(context)
    assert len(profile.levels) == 2
    assert profile.step is profile.engine_limits is None
    assert "does not report its cache" in result["fit"]


def test_without_chosen_levels_it_climbs_probes_and_sends_poisson_arrivals(
    uow: UnitOfWorkFactory, stub: OpenAIStub
) -> None:
    with uow() as work:
        work.query_sets.save(QuerySet("q", "numeric", 40, ALIKE))
        work.commit()
    context = context_for(uow, stub, concurrencies=None)
    run(context)
    levels = stored(context).levels
    assert [level.concurrency for level in levels if level.rate_rps is None] == [1, 2, 3, 4]
    assert [level.concurrency >= 1 for level in levels if level.rate_rps] == [True, True]
    opened = [level.rate_rps for level in levels if level.rate_rps is not None]
    best = max(level.requests_per_s for level in levels if level.rate_rps is None)
    assert opened == pytest.approx([0.6 * best, 0.85 * best])
    assert {"probe:long-prompts", "probe:long-answers"} < loads_of(context).keys()
    exact = [body for body in stub.seen if body.get("ignore_eos")]
    assert max(len(body["messages"][0]["content"]) for body in exact) > 20
    assert max(body["max_tokens"] for body in exact) > 20


def test_the_climb_stops_where_a_full_batch_no_longer_grows(
    uow: UnitOfWorkFactory,
) -> None:
    with uow() as work:
        work.models.save(replace(MODEL, max_num_seqs=64))
        work.commit()
    with in_thread(OpenAIStub(("small",), ttft_ms=60, answer=echo, most_in_batch=1)) as stub:
        context = context_for(uow, stub, concurrencies=None)
        job_body().run("start", context)
        job_body().run("measure", context)
    closed = [level.concurrency for level in stored(context).levels if level.rate_rps is None]
    assert 2 <= max(closed) <= 8


def test_progress_rises_and_tells_what_was_seen_and_spent(finished: Finished) -> None:
    reports = finished.context.reports
    fractions = [fraction for fraction, _ in reports]
    assert fractions == sorted(fractions)
    assert fractions[-1] < 1
    told = next(text for _, text in reversed(reports) if text.startswith("Level 4: "))
    assert "req/s, E2E" in told
    assert "$0.0" in told
    # 3.6 $/h are a tenth of a cent per second; some seconds passed, not minutes.
    assert 0.001 < finished.result["cost_usd"] < 0.1


def measured_one_level(
    uow: UnitOfWorkFactory, stub: OpenAIStub, wanted: list[int]
) -> RunningReplicas:
    """A job for several levels, as a controller that died after the first one left it."""
    context = context_for(uow, stub, concurrencies=wanted[:1])
    job_body().run("start", context)
    job_body().run("measure", context)
    context.job = replace(context.job, params=PARAMS | {"concurrencies": wanted})
    context.reports.clear()
    return context


def test_an_interrupted_step_goes_on_where_it_was(
    uow: UnitOfWorkFactory, stub: OpenAIStub
) -> None:
    context = measured_one_level(uow, stub, [1, 2, 4])
    first = stored(context).levels
    context.cancel_after = 1
    with pytest.raises(Cancelled):
        job_body().run("measure", context)
    assert stored(context).levels == first
    assert loads_of(context).keys() == {"closed:1"}
    context.cancel_after = None
    job_body().run("measure", context)
    assert [level.concurrency for level in stored(context).levels] == [1, 2, 4]
    assert stored(context).levels[:1] == first
    assert not any(text.startswith(("Level 1", "Warming up")) for _, text in context.reports)
    asked = len(stub.seen)
    job_body().run("measure", context)
    assert len(stub.seen) == asked


def test_failures_in_a_level_are_counted(uow: UnitOfWorkFactory, stub: OpenAIStub) -> None:
    stub.fail = dict.fromkeys(range(2, 10_000, 5), "status")
    context = context_for(uow, stub, concurrencies=[4])
    result = run(context)
    [level] = stored(context).levels
    assert level.errors > 0
    assert level.requests > level.errors
    assert result["levels"] == 1
    assert any(f"{level.errors} failed" in text for _, text in context.reports)


def test_a_server_that_recovers_is_asked_again(uow: UnitOfWorkFactory, stub: OpenAIStub) -> None:
    first = len(VARIED)
    stub.fail = dict.fromkeys(range(first), "status")
    context = context_for(uow, stub, concurrencies=[1])
    run(context)
    [level] = stored(context).levels
    assert level.requests > 0
    assert any("trying again. HTTP 500" in text for _, text in context.reports)


def test_another_replica_takes_the_place_of_a_dead_one(
    uow: UnitOfWorkFactory, stub: OpenAIStub
) -> None:
    context = measured_one_level(uow, stub, [1, 2])
    with uow() as work:
        [dead] = work.replicas.by_owner(job_owner(context.job.job_id))
        work.replicas.transition(dead.replica_id, [ReplicaState.READY], ReplicaState.FAILED)
        work.commit()
    job_body().run("measure", context)
    assert [level.concurrency for level in stored(context).levels] == [1, 2]
    with uow() as work:
        mine = work.replicas.by_owner(job_owner(context.job.job_id))
    assert {r.replica_id: r.wanted for r in mine}[dead.replica_id] is False
    assert [r.state for r in mine if r.wanted] == [ReplicaState.READY]


def test_a_level_that_fails_twice_ends_the_climb_and_the_rest_is_kept(
    uow: UnitOfWorkFactory, stub: OpenAIStub
) -> None:
    context = measured_one_level(uow, stub, [1, 2, 4])
    stub.fail = "status"
    job_body().run("measure", context)
    result = job_body().run("finish", context)
    assert [level.concurrency for level in stored(context).levels] == [1]
    assert result["unanswered"] == ["closed:2"]
    told = [text for _, text in context.reports]
    assert any("Level 2: every request failed, trying again. HTTP 500" in text for text in told)
    assert any("Level 2: nothing was answered (HTTP 500" in text for text in told)


@pytest.mark.parametrize(("failure", "said"), [("status", "HTTP 500"), ("garbage", "JSON")])
def test_a_first_level_of_failures_ends_the_job_with_a_remedy(
    failure: str, said: str, uow: UnitOfWorkFactory, stub: OpenAIStub
) -> None:
    stub.fail = failure
    context = context_for(uow, stub)
    job_body().run("start", context)
    with pytest.raises(EngineFailed, match=said) as failed:
        job_body().run("measure", context)
    assert "log" in failed.value.hint
    assert stored(context).levels == ()
    again = any("trying again" in text for _, text in context.reports)
    assert again == (failure == "status")


def test_answers_longer_than_the_level_end_the_job_with_a_remedy(
    uow: UnitOfWorkFactory, stub: OpenAIStub
) -> None:
    stub.ttft_ms = 20_000
    context = context_for(uow, stub, seconds_per_level=0.3)
    job_body().run("start", context)
    with pytest.raises(EngineFailed, match="No answer ended within") as failed:
        job_body().run("measure", context)
    assert "Lengthen" in failed.value.hint


def test_the_budget_of_seconds_ends_a_profile(uow: UnitOfWorkFactory, stub: OpenAIStub) -> None:
    context = context_for(uow, stub, concurrencies=[1, 2, 4], max_seconds=0.5)
    run(context)
    assert [level.concurrency for level in stored(context).levels] == [1]


def test_a_level_cut_short_before_every_slot_has_answered_does_not_count() -> None:
    quick = Sent(0.0, Answer("4", 1.0, 500.0, 7, 4))
    run = Run((quick,), stopped_at_s=1.0)
    cut = Measured(run, counted_closed(run.sent, 2, 1.0))
    assert cut.answered
    assert cut.level(Load(LoadKind.CLOSED, 2), 0) is None
    whole = Measured(run, counted_closed(run.sent, 1, 1.0))
    assert whole.level(Load(LoadKind.CLOSED, 1), 0) is not None


def test_a_query_set_that_is_gone_is_named(uow: UnitOfWorkFactory, stub: OpenAIStub) -> None:
    context = context_for(uow, stub, query_set="gone")
    job_body().run("start", context)
    with pytest.raises(NotFound, match="query set"):
        job_body().run("measure", context)


def test_a_replica_that_does_not_start_leaves_no_profile(uow: UnitOfWorkFactory) -> None:
    context = RunningReplicas(running_job(JobKind.PROFILE, PARAMS), uow, {})
    with pytest.raises(EngineFailed):
        job_body().run("start", context)
    with uow() as work:
        assert work.profiles.all() == []
