"""Frames for tables and charts, made of domain objects. Pure functions; units in column names."""

from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from core.domain.catalog import ModelSpec
from core.domain.deployment import Deployment, Replica, ReplicaState
from core.domain.fleet import Device, Price
from core.domain.job import Job
from core.domain.offer import objections
from core.domain.plan import PlanScore, ReplicaKind, ServingPlan
from core.domain.profile import Profile
from core.domain.quality import QualityEstimate
from core.domain.study import Limits, Origin, Trial
from core.domain.traffic import RequestRecord
from core.domain.workload import Workload
from core.reporting.costs import CostRow, Totals
from ui.formatting import (
    duration,
    interval,
    moment,
    percent,
    placement_short,
    routing_in_words,
)

BASELINES = {
    Origin.BASELINE_LARGE.value: "all on the best",
    Origin.BASELINE_SMALL.value: "all on the cheapest",
}
ORIGINS = {
    Origin.SEED.value: "from the integer program",
    Origin.LOCAL_SEARCH.value: "by local search",
    Origin.BAYES.value: "by Bayesian optimisation",
    **BASELINES,
}
"""How a plan was found, in words."""
GIB = 2**30


def devices_frame(devices: Sequence[Device], replicas: Sequence[Replica]) -> pd.DataFrame:
    """Return one row per device with the replica that holds it."""
    holders = {d: r.kind.label for r in replicas if r.live for d in r.device_ids}
    return pd.DataFrame(
        {
            "device_id": device.device_id,
            "node": device.node,
            "index": device.index,
            "sku": device.sku,
            "memory": device.memory_used_bytes / max(1, device.memory_total_bytes),
            "used_gib": device.memory_used_bytes / GIB,
            "total_gib": device.memory_total_bytes / GIB,
            "utilisation": device.utilisation,
            "power_w": device.power_w,
            "held_by": holders.get(device.device_id, ""),
            "enabled": device.enabled,
            "note": device.note,
            "seen_at": device.seen_at,
        }
        for device in devices
    )


def prices_frame(prices: Sequence[Price]) -> pd.DataFrame:
    """Return the price history in the given order."""
    return pd.DataFrame(
        {"sku": p.sku, "usd_per_hour": p.usd_per_hour, "valid_from": p.valid_from} for p in prices
    )


def models_frame(models: Sequence[ModelSpec]) -> pd.DataFrame:
    """Return one row per model; a size of zero (not on this machine) is unknown."""
    return pd.DataFrame(
        {
            "name": m.name,
            "weights_mib": m.weight_bytes / 2**20 if m.weight_bytes else None,
            "kv_kib_per_token": m.kv_bytes_per_token / 2**10 if m.kv_bytes_per_token else None,
            "max_model_len": m.max_model_len,
            "max_num_seqs": m.max_num_seqs,
            "remote_code": m.trust_remote_code,
            "added_at": m.added_at,
            "path": m.path,
        }
        for m in models
    )


def profile_name(profile: Profile) -> str:
    """Return the replica kind of a profile in words."""
    return ReplicaKind(profile.model, profile.sku, profile.tp, profile.pp).label


def jobs_frame(jobs: Sequence[Job]) -> pd.DataFrame:
    """Return one row per job, newest first as given."""
    return pd.DataFrame(
        {
            "job_id": job.job_id,
            "title": job.title,
            "state": job.state.value,
            "progress": job.progress,
            "message": f"{job.message} {job.hint}".strip(),
            "created_at": job.created_at,
            "took": duration((job.finished_at - job.started_at).total_seconds())
            if job.started_at and job.finished_at
            else "",
        }
        for job in jobs
    )


def estimates_frame(estimates: Sequence[QualityEstimate]) -> pd.DataFrame:
    """Return quality per (model, class), models and classes sorted."""
    ranked = sorted(estimates, key=lambda e: (e.model, e.query_class))
    return pd.DataFrame(
        {
            "model": e.model,
            "query_class": e.query_class,
            "mean": e.mean,
            "lower": e.lower,
            "upper": e.upper,
            "n": e.n,
            "metric": e.metric or "unknown",
            "source": e.provenance.value,
            "output_tokens": e.output_tokens_mean or None,
            "measured_at": e.measured_at,
        }
        for e in ranked
    )


def workloads_frame(workloads: Sequence[Workload]) -> pd.DataFrame:
    """Return one row per workload."""
    return pd.DataFrame(
        {
            "workload": w.name,
            "source": w.provenance.value,
            "rate_rps": w.rate_rps,
            "classes": ", ".join(t.query_class for t in w.classes),
            "burstiness": w.burstiness,
            "requests": w.trace_requests or None,
            "span": duration(w.trace_span_s) if w.trace_requests else "",
            "created_at": w.created_at,
        }
        for w in workloads
    )


def trials_frame(
    trials: Sequence[Trial],
    running_plan_id: str | None = None,
    chosen: int | None = None,
    limits: Limits | None = None,
) -> pd.DataFrame:
    """Return one row per trial by rising cost; what the Pareto chart and its table show.

    Args:
        limits: Of the study; None leaves `not_offered` to hard limits.
    """
    alike = Counter(t.alike for t in trials if t.on_front)
    ranked = sorted(trials, key=lambda t: (t.score.cost_usd_per_hour, t.score.p95_e2e_s or 1e9))
    return pd.DataFrame(
        {
            "number": t.number,
            "cost": t.score.cost_usd_per_hour,
            "cost_per_million": t.score.cost_usd_per_million_tokens,
            "p50_s": t.score.p50_e2e_s,
            "p95_s": t.score.p95_e2e_s,
            "p95_low_s": t.score.p95_e2e_low_s,
            "p95_high_s": t.score.p95_e2e_high_s,
            "p95_interval": interval(t.score.p95_e2e_low_s, t.score.p95_e2e_high_s),
            "quality": t.score.quality_mean,
            "quality_lower": t.score.quality_lower,
            "attainment": t.score.sla_attainment,
            "utilisation": t.score.utilisation,
            "provenance": t.score.provenance.value,
            "origin": ORIGINS[t.origin.value],
            "short_origin": BASELINES.get(t.origin.value, ""),
            "baseline": t.origin.value in BASELINES,
            "on_front": t.on_front,
            "folded": t.alike is not None,
            "alike": f"+{alike[t.number]} alike" if alike[t.number] else "",
            "not_offered": " ".join(objections(t.score, limits or Limits())),
            "running": t.plan.plan_id == running_plan_id,
            "note": _note(t, t.number == chosen, t.plan.plan_id == running_plan_id, limits),
            "placement": placement_short(t.plan),
            "limits": "; ".join(t.score.violations),
        }
        for t in ranked
    )


def whatif_frame(trials: Sequence[Trial], scores: Sequence[PlanScore]) -> pd.DataFrame:
    """Return one row per plan with its score as optimised and after a change, in that order."""
    return pd.DataFrame(
        {
            "number": trial.number,
            "placement": placement_short(trial.plan),
            "cost_before": trial.predicted.cost_usd_per_hour,
            "p95_before": trial.predicted.p95_e2e_s,
            "cost_after": score.cost_usd_per_hour,
            "p95_after": score.p95_e2e_s,
            "feasible_after": score.feasible,
            "why": "; ".join(score.violations) or ("" if score.feasible else "Cannot keep up"),
        }
        for trial, score in zip(trials, scores, strict=True)
    )


def routes_frame(plan: ServingPlan) -> pd.DataFrame:
    """Return one row per route of a plan; a cascade is named by both its models."""
    return pd.DataFrame(
        {
            "query_class": r.query_class,
            "model": f"{r.model}, else {r.escalate_to}" if r.escalate_to else r.model,
            "share": r.share,
        }
        for r in plan.routing
    )


def placement_frame(plan: ServingPlan, prices: Mapping[str, float]) -> pd.DataFrame:
    """Return one row per replica kind of a plan with its cost at the prices in force."""
    return pd.DataFrame(
        {
            "model": p.kind.model,
            "sku": p.kind.sku,
            "replicas": p.count,
            "devices": p.count * p.kind.devices,
            "usd_per_hour": p.count * p.kind.devices * prices[p.kind.sku]
            if p.kind.sku in prices
            else None,
        }
        for p in plan.placement
    )


def replicas_frame(replicas: Sequence[Replica]) -> pd.DataFrame:
    """Return one row per replica."""
    return pd.DataFrame(
        {
            "replica": r.kind.label,
            "state": r.state.value,
            "for": "serving" if r.owner == "deployment" else "measuring",
            "devices": ", ".join(r.device_ids),
            "address": r.base_url if r.port else "",
            "ready_in": duration((r.ready_at - r.started_at).total_seconds())
            if r.ready_at and r.started_at
            else "",
            "restarts": r.restarts,
            "memory_gib": None if r.memory_bytes is None else r.memory_bytes / GIB,
            "message": r.message,
        }
        for r in replicas
    )


def plan_changes(wanted: ServingPlan, replicas: Sequence[Replica]) -> pd.DataFrame:
    """Return what a deployment would keep, start and stop, per replica kind."""
    target = {p.kind: p.count for p in wanted.placement}
    running: dict[ReplicaKind, int] = {}
    for replica in replicas:
        if replica.wanted and replica.live and replica.state is not ReplicaState.DRAINING:
            running[replica.kind] = running.get(replica.kind, 0) + 1
    return pd.DataFrame(
        {
            "replica": kind.label,
            "keep": min(target.get(kind, 0), running.get(kind, 0)),
            "start": max(0, target.get(kind, 0) - running.get(kind, 0)),
            "stop": max(0, running.get(kind, 0) - target.get(kind, 0)),
        }
        for kind in sorted(target.keys() | running.keys())
    )


def ready_of(plan: ServingPlan, replicas: Sequence[Replica]) -> tuple[int, int]:
    """Return how many replicas of a plan are ready, and how many it has.

    What still serves an earlier plan does not count.
    """
    ready = Counter(r.kind for r in replicas if r.wanted and r.state is ReplicaState.READY)
    done = sum(min(placed.count, ready[placed.kind]) for placed in plan.placement)
    return done, sum(placed.count for placed in plan.placement)


def has_room(wanted: ServingPlan, replicas: Sequence[Replica], devices: Sequence[Device]) -> bool:
    """Whether what a deployment would start fits beside everything that runs."""
    changes = plan_changes(wanted, replicas)
    starts = dict(zip(changes["replica"], changes["start"], strict=True))
    held = {i for r in replicas if r.live for i in r.device_ids}
    free = Counter(d.sku for d in devices if d.schedulable and d.device_id not in held)
    needed: Counter[str] = Counter()
    for placed in wanted.placement:
        needed[placed.kind.sku] += starts.get(placed.kind.label, 0) * placed.kind.devices
    return needed <= free


def deployments_frame(deployments: Sequence[Deployment]) -> pd.DataFrame:
    """Return one row per deployment, newest first as given."""
    return pd.DataFrame(
        {
            "deployment_id": d.deployment_id,
            "plan": d.plan.plan_id[:6],
            "state": d.state.value,
            "placement": placement_short(d.plan),
            "routing": routing_in_words(d.plan),
            "usd_per_hour": d.predicted.cost_usd_per_hour if d.predicted else None,
            "created_at": d.created_at,
            "until": moment(d.ended_at) if d.ended_at else "",
            "override": d.override,
            "message": d.message,
        }
        for d in deployments
    )


def requests_frame(records: Sequence[RequestRecord]) -> pd.DataFrame:
    """Return one row per request record."""
    return pd.DataFrame(
        {
            "at": r.at,
            "query_class": r.query_class,
            "model": f"{r.model} after {r.first_model}" if r.first_model else r.model,
            "status": r.status,
            "ttft_ms": r.ttft_ms,
            "e2e_ms": r.e2e_ms,
            "input_tokens": r.input_tokens,
            "output_tokens": r.output_tokens,
            "asked_for": r.requested_model,
        }
        for r in records
    )


def costs_frame(rows: Sequence[CostRow]) -> pd.DataFrame:
    """Return one row per day, model and purpose, with what it was for in words."""
    return pd.DataFrame(
        {"day": r.day, "what": f"{r.model}, {r.purpose.value}", "usd": r.cost_usd} for r in rows
    )


def totals_frame(totals: Mapping[str, Totals]) -> pd.DataFrame:
    """Return one row per model or day of the bill."""
    return pd.DataFrame(
        {
            "name": name,
            "device_hours": t.device_seconds / 3600,
            "serving_usd": t.serving_usd,
            "measuring_usd": t.measuring_usd,
            "requests": t.requests,
            "output_tokens": t.output_tokens,
            "usd_per_million_tokens": t.usd_per_million_tokens,
        }
        for name, t in totals.items()
    )


def classes_of(workload: Workload) -> str:
    """Return a workload's traffic in words: `easy 60 %, hard 40 % of 3.00 req/s`."""
    shares = ", ".join(
        f"{t.query_class} {percent(w, 0)}"
        for t in workload.classes
        if (w := workload.weight(t.query_class)) > 0
    )
    return f"{shares} of {workload.rate_rps:.2f} req/s"


def _note(trial: Trial, chosen: bool, running: bool, limits: Limits | None) -> str:
    words = {
        "chosen": chosen,
        "running now": running,
        BASELINES.get(trial.origin.value, ""): trial.origin.value in BASELINES,
        "front": trial.on_front and trial.alike is None,
        f"like plan {trial.alike}": trial.alike is not None,
        "not offered": trial.on_front and bool(objections(trial.score, limits or Limits())),
    }
    return ", ".join(word for word, holds in words.items() if holds)
