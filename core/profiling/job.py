"""The profile job: one replica, loads that depend on what was seen, a fitted step-time model."""

import asyncio
import logging
import platform
from dataclasses import replace
from typing import Any

import numpy as np

from core.domain.catalog import ModelSpec
from core.domain.deployment import Replica, job_owner
from core.domain.ids import utc_now
from core.domain.job import Job
from core.domain.observation import Observations
from core.domain.plan import ReplicaKind
from core.domain.profile import EngineLimits, LoadLevel, Profile, Provenance
from core.domain.quality import QuerySet
from core.errors import EngineFailed, NotFound, NotReady
from core.ports import JobContext
from core.profiling import levels as plans
from core.profiling.engine_report import batched_tokens, engine_limits, read_log
from core.profiling.levels import LevelPlan, Load, LoadKind, Progress
from core.profiling.measuring import Measured, measure, ready_again
from core.profiling.questions import Question, of_probe, of_query_set, probes_for
from core.profiling.stopping import LONGER, StopRule
from core.services.profiles import MAX_SECONDS, job_cost_usd

log = logging.getLogger(__name__)

START_SHARE = 0.3
"""Of the whole job's progress that starting the server takes."""
FIT_SHARE = 0.05
"""And fitting the step-time model."""
PROBE_S = 4.0
OPEN_LENGTH = 1.5
"""Of a level's: random arrivals need longer than a steady load to show what is usual."""
WARM_UP = Load(LoadKind.CLOSED, 2, name="Warming up")
FIRST_S = 1.5
"""Of load before the first one that counts."""
LEAST_S = 2.0
PAUSE_S = 3.0


class ProfileJob:
    """Body of `JobKind.PROFILE`; parameters in `JobKind`.

    Every load is stored as it ends. An interrupted step finds them and goes on with the next.

    Args:
        pause_s: Wait before a load that nothing answered is tried again.
    """

    def __init__(self, pause_s: float = PAUSE_S) -> None:
        self._pause_s = pause_s

    def steps(self, job: Job) -> list[str]:
        """Start the replica, measure, finish."""
        return ["start", "measure", "finish"]

    def run(self, step: str, context: JobContext) -> dict[str, Any]:
        """Do one step."""
        if step == "start":
            return _start(context)
        if step == "finish":
            return _finish(context)
        return _Measuring(context, self._pause_s).run()


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


class _Measuring:
    """The step between start and finish: one load after the other until the plan is done."""

    def __init__(self, context: JobContext, pause_s: float) -> None:
        self._context = context
        self._pause_s = pause_s
        self._params = context.job.params
        self._usual_s = float(self._params["seconds_per_level"])
        self._most_s = float(self._params.get("max_seconds", MAX_SECONDS))
        self._model = _model_of(context)
        self._questions = of_query_set(query_set_of(context))

    def run(self) -> dict[str, Any]:
        done = self._done()
        if not done.tried:
            self._warm_up()
        while (load := plans.next_load(self._plan(), done)) is not None:
            share = plans.most_remaining(self._plan(), done) + len(done.tried)
            self._measure(load, done, share)
            done = self._done()
        return {"loads": len(done.tried), "seconds": round(done.spent_s, 1)}

    def _measure(self, load: Load, done: Progress, loads: int) -> None:
        usual_s = self._length_s(load)
        left_s = max(LEAST_S, self._most_s - done.spent_s)
        rule = self._rule(usual_s, min(LONGER * usual_s, left_s))
        measured = self._run(load, rule, len(done.tried) / loads, 1 / loads)
        if not measured.answered and not done.levels:
            raise _nothing_answered(load, measured)
        level = None if load.probe else measured.level(load, _memory_bytes(self._context))
        _store(self._context, load, measured.observations(), level)
        told = _told(load, level) if measured.answered else _unanswered(load, measured)
        self._report((len(done.tried) + 1) / loads, told)

    def _length_s(self, load: Load) -> float:
        if load.kind is LoadKind.PROBE:
            return min(self._usual_s, PROBE_S)
        return self._usual_s * (OPEN_LENGTH if load.kind is LoadKind.OPEN else 1.0)

    def _warm_up(self) -> None:
        """Let a fresh server answer its first requests, which it does slowly, uncounted."""
        seconds = min(FIRST_S, self._usual_s)
        self._run(WARM_UP, self._rule(seconds, seconds), 0.0, 0.0)

    def _run(self, load: Load, rule: StopRule, begun: float, share: float) -> Measured:
        def told(fraction: float, text: str) -> None:
            self._report(begun + share * fraction, text)

        ready = ready_again(self._context, self._pause_s, self._replica)
        return measure(load, self._asked(load), rule, ready, told)

    def _report(self, fraction: float, text: str) -> None:
        """Say how much of the loads is done, and what it has cost."""
        cost_usd = job_cost_usd(self._context.uow, self._context.job, utc_now())
        spent = "" if cost_usd is None else f", {_dollars(cost_usd)} so far"
        whole = START_SHARE + (1 - START_SHARE - FIT_SHARE) * min(1.0, fraction)
        self._context.progress(whole, text + spent)

    def _rule(self, usual_s: float, most_s: float) -> StopRule:
        return StopRule(usual_s, most_s, shortest_s=min(LEAST_S, usual_s))

    def _replica(self) -> Replica:
        [replica] = self._context.replicas({replica_kind(self._params): 1})
        return replica

    def _asked(self, load: Load) -> list[Question]:
        if not load.probe:
            return self._questions
        first = _profile(self._context).levels[0]
        return of_probe(
            load.probe, self._questions, first.input_tokens_mean, self._model.max_model_len
        )

    def _plan(self) -> LevelPlan:
        chosen = self._params.get("concurrencies")
        seen = [s for key, s in _observations(self._context).items() if _of_levels(key) and len(s)]
        return LevelPlan(
            most_in_flight=max(2, self._model.max_num_seqs),
            chosen=None if chosen is None else tuple(chosen),
            probes=probes_for(seen),
            latency_budget_s=self._params.get("latency_budget_s"),
            # What begins must have time for half its usual length; the first load always begins.
            max_seconds=max(self._most_s - self._usual_s / 2, 1e-9),
        )

    def _done(self) -> Progress:
        seen = _observations(self._context)
        spent_s = sum(
            max(map(sum, zip(s.sent_at_s, s.e2e_s, strict=True)), default=0.0)
            for s in seen.values()
        )
        return Progress(_profile(self._context).levels, frozenset(seen), spent_s)


def _start(context: JobContext) -> dict[str, Any]:
    context.progress(0.01, "Asking for a replica")
    [replica] = context.replicas({replica_kind(context.job.params): 1})
    profile = _empty_profile(context.job, replica, _limits(replica, context))
    with context.uow() as work:
        work.profiles.save(profile)
        work.commit()
    context.progress(START_SHARE, f"Ready after {profile.startup_s:.0f} s")
    return {"startup_s": profile.startup_s}


def _finish(context: JobContext) -> dict[str, Any]:
    context.progress(1 - FIT_SHARE, "Fitting the step-time model")
    profile, seen = _profile(context), _observations(context)
    fitted, note = _fitted(profile, seen)
    with context.uow() as work:
        work.profiles.save(fitted)
        work.commit()
    closed = [level for level in profile.levels if level.rate_rps is None]
    best = max(closed or profile.levels, key=lambda level: level.requests_per_s)
    return {
        "levels": len(profile.levels),
        "best_requests_per_s": best.requests_per_s,
        "at_concurrency": best.concurrency,
        "unanswered": sorted(key for key, load in seen.items() if not len(load)),
        "fit": note,
        "cost_usd": job_cost_usd(context.uow, context.job, utc_now()),
    }


def _fitted(profile: Profile, seen: dict[str, Observations]) -> tuple[Profile, str]:
    """Return the profile with its step-time model, and how that went in words."""
    # scipy takes a second to load; only this step needs it.
    from core.profiling.fit import fit_step

    if profile.engine_limits is None:
        return profile, "The engine does not report its cache: no step-time model was fitted."
    loads = [seen[key] for key in sorted(seen) if len(seen[key])]
    try:
        step, fit = fit_step(loads, profile.engine_limits)
    except NotReady as error:
        return profile, f"{error}"
    fitted = replace(profile, step=step, fit=fit)
    of_levels = [s for key, s in seen.items() if _of_levels(key) and len(s)]
    fitted = replace(fitted, relative_error=_error_of_means(fitted, of_levels))
    return fitted, f"Median error {100 * fit.e2e_median_error:.1f} %"


def _error_of_means(profile: Profile, loads: list[Observations]) -> float | None:
    """Return the root mean square, over loads, of log(predicted / measured mean E2E time)."""
    if profile.step is None or profile.engine_limits is None or not loads:
        return None
    from core.estimate.replay import replay
    from core.estimate.simulator import EngineSpec

    logs = []
    replica = EngineSpec(0, 1, profile.step, profile.engine_limits)
    for seen in loads:
        predicted = replay(seen, [replica]).e2e_s
        logs.append(float(np.log(np.nanmean(predicted) / np.mean(seen.e2e_s))))
    return float(np.sqrt(np.mean(np.square(logs))))


def _of_levels(key: str) -> bool:
    return not key.startswith(LoadKind.PROBE)


def _limits(replica: Replica, context: JobContext) -> EngineLimits | None:
    with context.uow() as work:
        devices = [d for d in work.devices.all() if d.device_id in replica.device_ids]
    model = _model_of(context)
    tokens = batched_tokens(read_log(replica.log_path), model, devices)
    try:
        return asyncio.run(engine_limits(replica.base_url, model.max_num_seqs, tokens))
    except EngineFailed as error:
        log.warning("%s", error)
        return None


def _model_of(context: JobContext) -> ModelSpec:
    with context.uow() as work:
        found = work.models.get(context.job.params["model"])
    if found is None:
        raise NotFound("The job's model is gone.", "Register it again on Models & profiling.")
    return found


def _memory_bytes(context: JobContext) -> int:
    """Memory as last seen by the controller: under load it is more than at the start."""
    with context.uow() as work:
        mine = work.replicas.by_owner(job_owner(context.job.job_id))
    return max((replica.memory_bytes or 0 for replica in mine if replica.wanted), default=0)


def _nothing_answered(load: Load, measured: Measured) -> EngineFailed:
    if measured.error:
        return EngineFailed(
            f"Every request failed with {load.in_flight} in flight: {measured.error}",
            "The replica's log tells why. Mend it, then run the job again.",
        )
    return EngineFailed(
        f"No answer ended within {measured.run.stopped_at_s:.0f} s "
        f"with {load.in_flight} in flight.",
        "Lengthen the levels, or use a query set with shorter answers.",
    )


def _unanswered(load: Load, measured: Measured) -> str:
    why = measured.error or f"no answer ended within {measured.run.stopped_at_s:.0f} s"
    return f"{load.told}: nothing was answered ({why}); going on without it"


def _told(load: Load, level: LoadLevel | None) -> str:
    if level is None:
        return f"{load.told}: {'done' if load.probe else 'too few answers to count'}"
    failed = f", {level.errors} failed" if level.errors else ""
    sure = "" if level.half_width is None else f" ± {100 * level.half_width:.0f} %"
    return (
        f"{load.told}: {level.requests} requests{failed}, {level.requests_per_s:.1f} req/s, "
        f"E2E {level.e2e_ms.mean:.0f} ms{sure}"
    )


def _empty_profile(job: Job, replica: Replica, limits: EngineLimits | None) -> Profile:
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
        engine_limits=limits,
    )


def _profile(context: JobContext) -> Profile:
    with context.uow() as work:
        profile = work.profiles.get(context.job.job_id)
    if profile is None:
        raise NotFound("The job's profile is gone from the database.", "Start a new profile.")
    return profile


def _observations(context: JobContext) -> dict[str, Observations]:
    with context.uow() as work:
        return work.profiles.observations(context.job.job_id)


def _store(context: JobContext, load: Load, seen: Observations, level: LoadLevel | None) -> None:
    """Store a load and its level together: what is stored is what is done."""
    profile = _profile(context)
    if level is not None:
        ranked = sorted([*profile.levels, level], key=_closed_first)
        profile = replace(profile, levels=tuple(ranked), measured_at=utc_now())
    with context.uow() as work:
        work.profiles.save(profile)
        work.profiles.save_observations(profile.profile_id, load.key, seen)
        work.commit()


def _closed_first(level: LoadLevel) -> tuple[bool, float]:
    opened = level.rate_rps is not None
    return opened, level.rate_rps if level.rate_rps is not None else level.concurrency


def _dollars(usd: float) -> str:
    return f"${usd:.2f}" if usd >= 1 else f"${usd:.4f}"
