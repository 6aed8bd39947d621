"""The profile job: one replica, several load levels, each a durable step."""

import asyncio
import platform
from dataclasses import replace
from typing import Any

from core.domain.deployment import Replica
from core.domain.ids import utc_now
from core.domain.job import Job
from core.domain.plan import ReplicaKind
from core.domain.profile import LoadLevel, Profile, Provenance
from core.domain.quality import Query, QuerySet
from core.errors import EngineFailed, NotFound
from core.ports import JobContext
from core.profiling.client import Answer, ask, open_session
from core.profiling.load import Window, closed_loop
from core.profiling.statistics import first_error, load_level

WARM_UP_SHARE = 0.25
"""Of a level's counted time; the engine's batch is full and its caches warm by then."""
START_SHARE = 0.3
"""Of the whole job's progress that starting the server takes."""


class ProfileJob:
    """Body of `JobKind.PROFILE`; parameters in `JobKind`."""

    def steps(self, job: Job) -> list[str]:
        """Start, one step per load level, finish."""
        return ["start", *(f"level:{c}" for c in job.params["concurrencies"]), "finish"]

    def run(self, step: str, context: JobContext) -> dict[str, Any]:
        """Do one step."""
        if step == "start":
            return self._start(context)
        if step == "finish":
            return self._finish(context)
        return self._level(int(step.removeprefix("level:")), context)

    def _start(self, context: JobContext) -> dict[str, Any]:
        context.progress(0.01, "Asking for a replica")
        [replica] = context.replicas({replica_kind(context.job.params): 1})
        profile = _empty_profile(context.job, replica)
        with context.uow() as work:
            work.profiles.save(profile)
            work.commit()
        context.progress(START_SHARE, f"Ready after {profile.startup_s:.0f} s")
        return {"startup_s": profile.startup_s}

    def _level(self, concurrency: int, context: JobContext) -> dict[str, Any]:
        [replica] = context.replicas({replica_kind(context.job.params): 1})
        window = asyncio.run(_drive(concurrency, replica, context))
        level = load_level(concurrency, window, _memory_bytes(replica, context))
        if level is None:
            raise _nothing_answered(concurrency, window)
        _store_level(level, context)
        done = _overall(context.job.params["concurrencies"], concurrency, 1.0)
        context.progress(done, _told(level))
        return {
            "requests": level.requests,
            "errors": level.errors,
            "requests_per_s": level.requests_per_s,
        }

    def _finish(self, context: JobContext) -> dict[str, Any]:
        profile = _profile(context)
        best = max(profile.levels, key=lambda level: level.requests_per_s)
        return {
            "levels": len(profile.levels),
            "best_requests_per_s": best.requests_per_s,
            "at_concurrency": best.concurrency,
        }


def replica_kind(params: dict[str, Any]) -> ReplicaKind:
    """Return the replica kind a measuring job's parameters name."""
    return ReplicaKind(params["model"], params["sku"], params["tp"])


def query_set_of(context: JobContext) -> QuerySet:
    """Return the query set a measuring job's parameters name.

    Raises:
        NotFound: It was removed meanwhile.
    """
    with context.uow() as work:
        found = work.query_sets.get(context.job.params["query_set"])
    if found is None:
        raise NotFound("The job's query set is gone.", "Upload it again on Workload & quality.")
    return found


def _memory_bytes(replica: Replica, context: JobContext) -> int:
    """Memory as last seen by the controller: under load it is more than at the start."""
    with context.uow() as work:
        now = work.replicas.get(replica.replica_id)
    return (now or replica).memory_bytes or 0


def _nothing_answered(concurrency: int, window: Window) -> EngineFailed:
    error = first_error(window.answers)
    if error:
        return EngineFailed(
            f"Every request failed with {concurrency} in flight: {error}",
            "The replica's log tells why; levels measured before are kept. Mend it, then retry.",
        )
    return EngineFailed(
        f"No answer ended within {window.duration_s:g} s with {concurrency} in flight.",
        "Lengthen the levels, or use a query set with shorter answers.",
    )


def _told(level: LoadLevel) -> str:
    failed = f", {level.errors} failed" if level.errors else ""
    return (
        f"Level {level.concurrency}: {level.requests} requests{failed}, "
        f"{level.requests_per_s:.1f} req/s, TTFT p50 {level.ttft_ms.p50:.0f} ms"
    )


def _empty_profile(job: Job, replica: Replica) -> Profile:
    started, ready = replica.started_at, replica.ready_at
    return Profile(
        profile_id=job.job_id,
        model=replica.kind.model,
        sku=replica.kind.sku,
        tp=replica.kind.tp,
        pp=replica.kind.pp,
        provenance=Provenance.MEASURED,
        measured_at=utc_now(),
        engine=replica.engine,
        host=platform.node(),
        startup_s=(ready - started).total_seconds() if started and ready else 0.0,
        levels=(),
    )


def _profile(context: JobContext) -> Profile:
    with context.uow() as work:
        profile = work.profiles.get(context.job.job_id)
    if profile is None:
        raise NotFound("The job's profile is gone from the database.", "Start a new profile.")
    return profile


def _store_level(level: LoadLevel, context: JobContext) -> None:
    """Put the level in place of an interrupted try of the same one."""
    profile = _profile(context)
    others = [known for known in profile.levels if known.concurrency != level.concurrency]
    levels = tuple(sorted([*others, level], key=lambda known: known.concurrency))
    with context.uow() as work:
        work.profiles.save(replace(profile, levels=levels, measured_at=utc_now()))
        work.commit()


async def _drive(concurrency: int, replica: Replica, context: JobContext) -> Window:
    params, query_set = context.job.params, query_set_of(context)
    seconds = float(params["seconds_per_level"])

    def report(fraction: float, counted: int) -> None:
        text = f"Level {concurrency}: {counted} requests so far"
        context.progress(_overall(params["concurrencies"], concurrency, fraction), text)

    async with open_session() as session:

        async def ask_one(query: Query) -> Answer:
            return await ask(
                session, replica.base_url, replica.kind.model, query.text, query_set.max_tokens
            )

        return await closed_loop(
            ask_one, query_set.queries, concurrency, WARM_UP_SHARE * seconds, seconds, report
        )


def _overall(concurrencies: list[int], concurrency: int, fraction: float) -> float:
    done = concurrencies.index(concurrency) + fraction
    return START_SHARE + (0.99 - START_SHARE) * done / len(concurrencies)
