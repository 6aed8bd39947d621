"""Planning problems of any size, made from a simple roofline of a replica."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from core.domain.cascade import CascadeEstimate
from core.domain.plan import ReplicaKind
from core.domain.planning import PlanningFacts
from core.domain.profile import LoadLevel, Profile, Provenance, Spread
from core.domain.quality import QualityEstimate
from core.domain.study import Limits
from core.domain.workload import ClassTraffic, Workload

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def spread(mean: float, sigma: float) -> Spread:
    """A log-normal sample's summary."""
    median = mean * np.exp(-(sigma**2) / 2)
    return Spread(
        mean, float(median), float(median * np.exp(1.645 * sigma)), median * np.exp(2.33 * sigma)
    )


def level(
    concurrency: int, ttft_ms: float, tpot_ms: float, tokens: float = 40.0, sigma: float = 0.3
) -> LoadLevel:
    """What a closed loop of that concurrency sees, by Little's law."""
    e2e_ms = ttft_ms + tpot_ms * (tokens - 1)
    requests = 400
    return LoadLevel(
        concurrency=concurrency,
        requests=requests,
        errors=0,
        duration_s=requests * e2e_ms / 1000 / concurrency,
        ttft_ms=spread(ttft_ms, sigma),
        tpot_ms=spread(tpot_ms, 0.05),
        e2e_ms=spread(e2e_ms, sigma),
        input_tokens_mean=20.0,
        output_tokens_mean=tokens,
        memory_bytes=10**9,
    )


def profile(
    kind: ReplicaKind, step_ms: float, batch_cost: float = 0.05, concurrencies=(1, 4, 16)
) -> Profile:
    """A profile whose step grows by `batch_cost` per further request in flight."""
    levels = tuple(
        level(c, 2 * step_ms * (1 + batch_cost * c), step_ms * (1 + batch_cost * (c - 1)))
        for c in concurrencies
    )
    return Profile(
        profile_id=f"{kind.model}-{kind.sku}-{kind.tp}-{kind.pp}",
        model=kind.model,
        sku=kind.sku,
        tp=kind.tp,
        pp=kind.pp,
        provenance=Provenance.MEASURED,
        measured_at=NOW,
        engine="test",
        host="test",
        startup_s=10.0,
        levels=levels,
    )


def estimate(model: str, query_class: str, mean: float, n: int = 100, tokens: float = 40.0):
    """A quality estimate with a Wilson interval."""
    z = 1.959964
    centre = (mean + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return QualityEstimate(model, query_class, n, mean, float(low), float(high), tokens, NOW)


def workload(rates: dict[str, float], tokens: float = 40.0) -> Workload:
    """Traffic with equal lengths in all classes."""
    classes = tuple(ClassTraffic(k, rate, 20.0, tokens) for k, rate in sorted(rates.items()))
    return Workload("w", "traffic", classes, Provenance.IMPORTED, NOW)


def two_models(devices: int = 2, load: float = 1.5, **limits: float) -> PlanningFacts:
    """The embedded fleet: CPU cores, a small and a large model, three classes."""
    small, large = ReplicaKind("small", "cpu-core"), ReplicaKind("large", "cpu-core")
    profiles = {small: profile(small, 4.0), large: profile(large, 12.0)}
    capacity_rps = max(x.requests_per_s for x in profiles[large].levels)
    scores = {
        ("small", "easy"): 0.97,
        ("small", "medium"): 0.55,
        ("small", "hard"): 0.12,
        ("large", "easy"): 0.99,
        ("large", "medium"): 0.96,
        ("large", "hard"): 0.88,
    }
    mix = {"easy": 0.6, "medium": 0.25, "hard": 0.15}
    return PlanningFacts(
        workload=workload({k: share * load * capacity_rps for k, share in mix.items()}),
        limits=Limits(**limits),
        profiles=profiles,
        quality={key: estimate(*key, mean) for key, mean in scores.items()},
        price_usd_per_hour={"cpu-core": 0.04},
        devices_per_node={"cpu-core": (devices,)},
        max_num_seqs={"small": 16, "large": 16},
    )


def random_problem(
    rng: np.random.Generator,
    models: int = 2,
    skus: int = 2,
    classes: int = 2,
    nodes: int = 2,
    node_size: int = 2,
    tps: tuple[int, ...] = (1,),
    load: float | None = None,
    limits: Limits | None = None,
) -> PlanningFacts:
    """A random fleet: larger models are slower and better, dearer SKUs are faster."""
    kinds = {}
    for m in range(models):
        for g in range(skus):
            for tp in tps:
                kind = ReplicaKind(f"m{m}", f"gpu{g}", tp)
                step_ms = 5.0 * 2.2**m / (1.6**g * tp**0.8) * rng.uniform(0.85, 1.15)
                kinds[kind] = profile(kind, step_ms, rng.uniform(0.02, 0.08))
    names = [f"c{k}" for k in range(classes)]
    difficulty = np.linspace(0.1, 0.9, classes)
    quality = {}
    for m in range(models):
        for k, name in enumerate(names):
            skill = (m + 1) / models
            mean = float(np.clip(1.05 - max(0.0, difficulty[k] - 0.6 * skill), 0.05, 0.99))
            quality[f"m{m}", name] = estimate(f"m{m}", name, mean - rng.uniform(0, 0.04))
    best = max(
        x.requests_per_s for kind, p in kinds.items() for x in p.levels if kind.model == "m0"
    )
    rate = best * (rng.uniform(0.5, 2.0) if load is None else load)
    shares = rng.dirichlet(np.full(classes, 3.0))
    return PlanningFacts(
        workload=workload({n: float(rate * s) for n, s in zip(names, shares, strict=True)}),
        limits=limits or Limits(),
        profiles=kinds,
        quality=quality,
        price_usd_per_hour={f"gpu{g}": 1.0 * 1.7**g * rng.uniform(0.9, 1.1) for g in range(skus)},
        devices_per_node={f"gpu{g}": (node_size,) * nodes for g in range(skus)},
        max_num_seqs={f"m{m}": 16 for m in range(models)},
    )


def random_fleet(rng: np.random.Generator) -> PlanningFacts:
    """A random fleet of anything: models, SKUs, TP, PP, node sizes, lengths that differ by class.

    Kinds rank classes differently: TP shortens decoding more than prompts. Now and then a kind
    is missing, does not fit on any node or has no price.
    """
    models, skus = [f"m{m}" for m in range(rng.integers(1, 4))], int(rng.integers(1, 4))
    names = [f"c{k}" for k in range(rng.integers(1, 4))]
    sizes = [(1,), (1, 2), (1, 2, 4), (2, 3), (1, 3), (2,)][rng.integers(6)]
    profiles = {}
    for m, model in enumerate(models):
        for g in range(skus):
            for tp in sizes:
                for pp in (1, 2):
                    if rng.random() < (0.85 if pp == 1 else 0.3):
                        kind = ReplicaKind(model, f"gpu{g}", tp, pp)
                        profiles[kind] = _profile_of(rng, kind, m, g)
    quality = {
        (model, name): estimate(model, name, float(rng.uniform(0.2, 0.6) + 0.35 * m / len(models)))
        for m, model in enumerate(models)
        for name in names
    }
    rate = float(np.exp(rng.uniform(np.log(0.1), np.log(4.0)))) * 16 / 0.35
    classes = tuple(
        ClassTraffic(name, rate * share, rng.uniform(5, 200), rng.uniform(5, 120))
        for name, share in zip(names, rng.dirichlet(np.ones(len(names))), strict=True)
    )
    prices = {f"gpu{g}": float(1.7**g * rng.uniform(0.7, 1.4)) for g in range(skus)}
    if rng.random() < 0.1:
        prices.pop("gpu0")
    budget = float(rng.uniform(2, 30)) if rng.random() < 0.4 else None
    nodes = {
        f"gpu{g}": tuple(map(int, rng.integers(1, 7, rng.integers(1, 4)))) for g in range(skus)
    }
    return PlanningFacts(
        workload=Workload("w", "traffic", classes, Provenance.IMPORTED, NOW),
        limits=Limits(float(rng.choice([0.0, rng.uniform(0.1, 0.7)])), budget),
        profiles=profiles,
        quality=quality,
        price_usd_per_hour=prices,
        devices_per_node=nodes,
        max_num_seqs=dict.fromkeys(models, 16),
    )


def with_cascades(facts: PlanningFacts, rng: np.random.Generator) -> PlanningFacts:
    """The same with cascades from some models to later ones, better than the first one alone.

    How many thresholds a class has for a pair differs; some have none.
    """
    models = sorted({model for model, _ in facts.quality})
    made = []
    for traffic in facts.workload.classes:
        for i, first in enumerate(models):
            for second in models[i + 1 :]:
                low = facts.quality[first, traffic.query_class].mean
                high = facts.quality[second, traffic.query_class].mean
                thresholds = np.sort(rng.uniform(-2, 0, rng.integers(0, 4))).round(4)
                escalated = np.sort(rng.uniform(0, 0.9, len(thresholds)))
                for threshold, share in zip(thresholds, escalated, strict=True):
                    mean = min(
                        0.99, low + max(0.0, high - low + 0.05) * share ** rng.uniform(0.2, 1)
                    )
                    made.append(
                        cascade(first, second, traffic.query_class, threshold, share, mean)
                    )
    return replace(facts, cascades=tuple(made))


def cascade(
    first: str, second: str, query_class: str, threshold: float, escalated: float, mean: float
) -> CascadeEstimate:
    """A cascade with Wilson's interval of a hundred queries."""
    like = estimate(first, query_class, mean)
    return CascadeEstimate(
        query_class,
        first,
        second,
        float(threshold),
        float(escalated),
        100,
        mean,
        like.lower,
        like.upper,
    )


def _profile_of(rng: np.random.Generator, kind: ReplicaKind, m: int, g: int) -> Profile:
    step_ms = 5.0 * 2.2**m / (1.6**g * kind.tp ** rng.uniform(0.5, 0.95)) * rng.uniform(0.7, 1.4)
    prompts = rng.uniform(0.3, 4.0)
    grown = profile(kind, step_ms, rng.uniform(0.01, 0.15))
    levels = tuple(
        level(x.concurrency, prompts * x.ttft_ms.mean, x.tpot_ms.mean) for x in grown.levels
    )
    return replace(grown, levels=levels)
