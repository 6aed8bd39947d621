"""Planning problems small enough to look at every plan, drawn by seed."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from core.domain.intervals import wilson
from core.domain.plan import ReplicaKind
from core.domain.planning import PlanningFacts
from core.domain.profile import EngineLimits, Profile, Provenance, StepTime
from core.domain.quality import QualityEstimate
from core.domain.study import Limits
from core.domain.workload import ClassTraffic, Workload
from core.estimate.derived_levels import derived_levels
from core.estimate.step_speed import kind_speed

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = EngineLimits(32, 8192, 20_000, 16)
MODELS, SKUS, CLASSES, DEVICES = 2, 3, 2, 6
SCORED = 300
FLOOR_SHARE = 0.3


def small_fleet(seed: int) -> PlanningFacts:
    """Return two models on three device types of six devices each, for two query classes.

    The large model is 2 to 4 times slower and better, most of all on the hard class; each device
    type is 1.3 to 2 times faster and 1.3 to 2.2 times dearer than the one before. Traffic is .1 to
    .35 of what the fleet could do with the large model alone. The floor is .3 of the way from the
    small model to the large one.
    """
    rng = np.random.default_rng([6, seed])
    models, skus = ("large", "small"), [f"gpu{g}" for g in range(SKUS)]
    classes = tuple(
        ClassTraffic(
            name,
            float(rng.uniform(0.5, 1.5)),
            float(rng.uniform(100, 1000)),
            float(rng.uniform(50, 300)),
            output_tokens_std=float(rng.uniform(20, 100)),
        )
        for name in ("easy", "hard")
    )
    workload = Workload("w", "small", classes, Provenance.IMPORTED, NOW)
    slower = {"large": float(rng.uniform(2, 4)), "small": 1.0}
    faster = np.cumprod(np.append(1.0, rng.uniform(1.3, 2.0, SKUS - 1)))
    dearer = np.cumprod(np.append(1.0, rng.uniform(1.3, 2.2, SKUS - 1)))
    facts = PlanningFacts(
        workload=workload,
        limits=Limits(),
        profiles={
            kind: _profile(kind, slower[model] / faster[g] * rng.uniform(0.8, 1.2), workload)
            for model in models
            for g, sku in enumerate(skus)
            for kind in [ReplicaKind(model, sku)]
        },
        quality=_quality(rng),
        price_usd_per_hour=dict(zip(skus, map(float, dearer), strict=True)),
        devices_per_node=dict.fromkeys(skus, (DEVICES,)),
        max_num_seqs=dict.fromkeys(models, LIMITS.max_num_seqs),
    )
    return _limited(facts, float(rng.uniform(0.1, 0.35)))


def _profile(kind: ReplicaKind, slowness: float, workload: Workload) -> Profile:
    step = StepTime(
        fixed_s=0.008 * slowness,
        per_sequence_s=2e-4 * slowness,
        per_context_token_s=2e-7 * slowness,
        per_prefill_token_s=3e-5 * slowness,
        per_request_s=2e-4,
        overhead_s=2e-3,
    )
    return Profile(
        profile_id=kind.label,
        model=kind.model,
        sku=kind.sku,
        tp=kind.tp,
        pp=kind.pp,
        provenance=Provenance.PREDICTED,
        measured_at=NOW,
        engine="bench",
        host="bench",
        startup_s=0.0,
        levels=derived_levels(step, LIMITS, workload),
        step=step,
        engine_limits=LIMITS,
    )


def _quality(rng: np.random.Generator) -> dict[tuple[str, str], QualityEstimate]:
    means = {
        ("large", "easy"): rng.uniform(0.88, 0.98),
        ("large", "hard"): rng.uniform(0.7, 0.9),
        ("small", "easy"): rng.uniform(0.75, 0.9),
        ("small", "hard"): rng.uniform(0.2, 0.5),
    }
    return {
        (model, name): QualityEstimate(
            model, name, SCORED, float(mean), *wilson(float(mean), SCORED), 0.0, NOW
        )
        for (model, name), mean in means.items()
    }


def _limited(facts: PlanningFacts, load: float) -> PlanningFacts:
    """Scale the traffic and set the floor."""
    mix = np.array([traffic.rate_rps for traffic in facts.workload.classes])
    mix /= mix.sum()
    total_rps = sum(
        sum(facts.devices_per_node[kind.sku]) * kind_speed(facts, kind).capacity_rps(mix)
        for kind in facts.profiles
        if kind.model == "large"
    )
    names = [traffic.query_class for traffic in facts.workload.classes]
    classes = tuple(
        replace(traffic, rate_rps=float(share * load * total_rps))
        for traffic, share in zip(facts.workload.classes, mix, strict=True)
    )
    worst, best = (
        sum(share * facts.quality[m, name].lower for share, name in zip(mix, names, strict=True))
        for m in ("small", "large")
    )
    return replace(
        facts,
        workload=replace(facts.workload, classes=classes),
        limits=Limits(quality_floor=float(worst + FLOOR_SHARE * (best - worst))),
    )
