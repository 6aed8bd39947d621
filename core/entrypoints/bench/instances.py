"""Instances for benchmarks of the optimiser, drawn afresh by seed.

Nothing here knows an optimiser: distributions were fixed before any was run on them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from core.domain.plan import ReplicaKind
from core.domain.planning import PlanningFacts
from core.domain.profile import EngineLimits, Profile, Provenance, StepTime
from core.domain.quality import QualityEstimate
from core.domain.study import Limits
from core.domain.workload import ClassTraffic, Workload
from core.entrypoints.bench.hidden_truth import Hidden, World
from core.errors import Infeasible
from core.estimate.derived_levels import derived_levels
from core.estimate.quality import mixture_quality
from core.estimate.step_speed import kind_speed
from core.optimize.search import Search

NOW = datetime(2026, 1, 1, tzinfo=UTC)
GIB = 2**30
Z_WILSON = 1.959964
MOST_DRAWS = 50


@dataclass(frozen=True)
class Sku:
    """A device type as its data sheet gives it; a typical price per hour."""

    name: str
    memory_gib: float
    bandwidth_gb_s: float
    dense_tflops: float
    usd_per_hour: float


SKUS = (
    Sku("L4", 24, 300, 121, 0.7),
    Sku("L40S", 48, 864, 362, 1.3),
    Sku("A100", 80, 2039, 312, 1.8),
    Sku("H100", 80, 3350, 989, 3.0),
    Sku("H200", 141, 4800, 989, 3.8),
    Sku("MI300X", 192, 5300, 1307, 3.4),
)
PREFILL_TOKENS_PER_STEP = 8192
MAX_NUM_SEQS = 128
BLOCK_SIZE = 16


@dataclass(frozen=True)
class _Model:
    name: str
    billions: float

    @property
    def weight_bytes(self) -> float:
        return 2e9 * self.billions

    @property
    def kv_bytes_per_token(self) -> float:
        """Grouped-query attention: 131 kB at 8 billion parameters, 328 kB at 70 billion."""
        return 131e3 * math.pow(self.billions / 8, 0.42)


def live_like(seed: int) -> World:
    """Return a fleet, its traffic and the hidden truth, from a seed alone.

    Facts, in the order they are drawn:

    * SKUs: 2 to 4 of `SKUS`; price log-normal around the typical one (sd .15); nodes of 2, 4 or 8
      devices, 4 to 16 devices of each SKU.
    * Models: 2 to 4; the smallest of 1 to 4 billion parameters (log-uniform), each next one 2 to 5
      times larger, at most 70. A kind is a model on a SKU with the smallest TP of 1, 2, 4, 8 that
      holds weights and some cache, and with the next larger one, inside a node. Catalogue step
      times are a roofline (60 % of bandwidth, 45 % of peak) with a host part of 3 ms.
    * Classes: 2 to 4; shares Dirichlet(3); prompts of 100 to 2000 and answers of 50 to 400 tokens
      (log-uniform), coefficients of variation .4 to 1.
    * Quality: logistic in log size minus difficulty (-1.5 to 1.5); 150 to 1000 scored answers;
      answer lengths per model log-normal (sd .15).
    * Rate: .2 to .5 of what the whole fleet could sustain with the best model alone.
    * Limits: floor .1 to .5 of the way from the worst to the best single model's lower bound;
      budget .5 to .9 of the price of the whole fleet; utilisation at most .9; no SLA.

    Hidden, see `Hidden`:

    * speed: decoding times off by a log-normal factor per (model, SKU), sd .3, and one per kind,
      sd .05; prompt times by a further one per (model, SKU), sd .15;
    * contention: .05 to .25 per SKU; bursts: 0 to .4; noise of a measured P95: .05 to .10.

    An instance in which no plan keeps the limits by its catalogue is drawn again.
    """
    for draw in range(MOST_DRAWS):
        rng = np.random.default_rng([4, seed, draw])
        facts = _facts(rng)
        if facts is not None and _feasible(facts):
            return World(seed, facts, _hidden(rng, facts))
    raise Infeasible(f"No feasible instance in {MOST_DRAWS} draws of seed {seed}.")


def _feasible(facts: PlanningFacts) -> bool:
    try:
        Search(facts)
    except Infeasible:
        return False
    return True


def _hidden(rng: np.random.Generator, facts: PlanningFacts) -> Hidden:
    pairs = sorted({(kind.model, kind.sku) for kind in facts.profiles})
    decode = dict(zip(pairs, np.exp(rng.normal(0, 0.3, len(pairs))), strict=True))
    prompt = dict(zip(pairs, np.exp(rng.normal(0, 0.15, len(pairs))), strict=True))
    own = {kind: float(np.exp(rng.normal(0, 0.05))) for kind in sorted(facts.profiles)}
    factors = {kind: float(decode[kind.model, kind.sku]) * own[kind] for kind in own}
    return Hidden(
        decode=factors,
        prefill={k: factors[k] * float(prompt[k.model, k.sku]) for k in own},
        contention={sku: float(rng.uniform(0.05, 0.25)) for sku in sorted(facts.devices_per_node)},
        burst=float(rng.uniform(0, 0.4)),
        noise=float(rng.uniform(0.05, 0.10)),
    )


def _facts(rng: np.random.Generator) -> PlanningFacts | None:
    skus = [SKUS[i] for i in sorted(rng.choice(len(SKUS), rng.integers(2, 5), replace=False))]
    prices = {s.name: s.usd_per_hour * float(np.exp(rng.normal(0, 0.15))) for s in skus}
    nodes = {s.name: _nodes(rng) for s in skus}
    models, classes = _models(rng), _classes(rng)
    kinds = {
        kind: (model, sku)
        for model in models
        for sku in skus
        for kind in _kinds(model, sku, max(nodes[sku.name]))
    }
    if {kind.model for kind in kinds} != {model.name for model in models}:
        return None
    workload = Workload("w", "live-like", classes, Provenance.IMPORTED, NOW)
    facts = PlanningFacts(
        workload=workload,
        limits=Limits(),
        profiles={k: _profile(k, m, s, workload) for k, (m, s) in kinds.items()},
        quality=_quality(rng, models, classes),
        price_usd_per_hour=prices,
        devices_per_node=nodes,
        max_num_seqs={model.name: MAX_NUM_SEQS for model in models},
    )
    return _limited(rng, _loaded(facts, float(rng.uniform(0.2, 0.5))))


def _nodes(rng: np.random.Generator) -> tuple[int, ...]:
    size = int(rng.choice([2, 4, 8]))
    return (size,) * int(rng.integers(max(1, 4 // size), 16 // size + 1))


def _models(rng: np.random.Generator) -> list[_Model]:
    billions, models = math.exp(rng.uniform(0, math.log(4))), []
    for i in range(rng.integers(2, 5)):
        models.append(_Model(f"model-{i}", min(billions, 70.0)))
        billions *= rng.uniform(2, 5)
    return models


def _classes(rng: np.random.Generator) -> tuple[ClassTraffic, ...]:
    count = int(rng.integers(2, 5))
    classes = []
    for k, share in enumerate(rng.dirichlet(np.full(count, 3.0))):
        inputs = math.exp(rng.uniform(math.log(100), math.log(2000)))
        outputs = math.exp(rng.uniform(math.log(50), math.log(400)))
        spread = rng.uniform(0.4, 1.0, 2)
        std = (inputs * float(spread[0]), outputs * float(spread[1]))
        classes.append(ClassTraffic(f"class-{k}", float(share), inputs, outputs, *std))
    return tuple(classes)


def _kinds(model: _Model, sku: Sku, node: int) -> list[ReplicaKind]:
    fitting = [tp for tp in (1, 2, 4, 8) if tp <= node and _cache_tokens(model, sku, tp) > 20_000]
    return [ReplicaKind(model.name, sku.name, tp) for tp in fitting[:2]]


def _cache_tokens(model: _Model, sku: Sku, tp: int) -> float:
    room = tp * (0.9 * sku.memory_gib - 2) * GIB - model.weight_bytes
    return room / model.kv_bytes_per_token


def _profile(kind: ReplicaKind, model: _Model, sku: Sku, workload: Workload) -> Profile:
    bytes_s, operations_s = 0.6e9 * sku.bandwidth_gb_s * kind.tp, 0.45e12 * sku.dense_tflops
    step = StepTime(
        fixed_s=3e-3 + model.weight_bytes / bytes_s + 5e-4 * math.log2(kind.tp),
        per_sequence_s=3e-5 + 2e9 * model.billions / (operations_s * kind.tp),
        per_context_token_s=model.kv_bytes_per_token / bytes_s,
        per_prefill_token_s=2e9 * model.billions / (operations_s * kind.tp),
        per_request_s=5e-4,
        overhead_s=5e-3,
    )
    blocks = int(_cache_tokens(model, sku, kind.tp) // BLOCK_SIZE)
    limits = EngineLimits(MAX_NUM_SEQS, PREFILL_TOKENS_PER_STEP, blocks, BLOCK_SIZE)
    return Profile(
        profile_id=kind.label,
        model=kind.model,
        sku=kind.sku,
        tp=kind.tp,
        pp=kind.pp,
        provenance=Provenance.PREDICTED,
        measured_at=NOW,
        engine="catalogue",
        host="catalogue",
        startup_s=60.0,
        levels=derived_levels(step, limits, workload),
        step=step,
        engine_limits=limits,
        relative_error=0.3,
    )


def _quality(
    rng: np.random.Generator, models: Sequence[_Model], classes: Sequence[ClassTraffic]
) -> dict[tuple[str, str], QualityEstimate]:
    difficulty = np.sort(rng.uniform(-1.5, 1.5, len(classes)))
    quality = {}
    for model in models:
        skill = 0.8 * math.log(model.billions / 8) + rng.normal(0, 0.2)
        for traffic, hard in zip(classes, difficulty, strict=True):
            answers = int(math.exp(rng.uniform(math.log(150), math.log(1000))))
            right = int(rng.binomial(answers, 1 / (1 + math.exp(-(1.0 + skill - hard)))))
            tokens = traffic.output_tokens_mean * float(np.exp(rng.normal(0, 0.15)))
            pair = (model.name, traffic.query_class)
            quality[pair] = _estimate(*pair, right / answers, answers, tokens)
    return quality


def _estimate(
    model: str, query_class: str, mean: float, answers: int, tokens: float
) -> QualityEstimate:
    z, n = Z_WILSON, answers
    centre = (mean + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return QualityEstimate(model, query_class, n, mean, low, high, tokens, NOW)


def _loaded(facts: PlanningFacts, load: float) -> PlanningFacts:
    """Scale the rates to a share of what the fleet sustains with the best model alone."""
    best = facts.models_by_quality[0]
    classes = facts.workload.classes
    mix = np.array([facts.workload.weight(traffic.query_class) for traffic in classes])
    capacity_rps = 0.0
    for sku, nodes in facts.devices_per_node.items():
        per_device = [
            kind_speed(facts, kind).capacity_rps(mix) / kind.devices
            for kind in facts.profiles
            if kind.model == best and kind.sku == sku
        ]
        capacity_rps += sum(nodes) * max(per_device, default=0.0)
    rate_rps = load * capacity_rps
    scaled = tuple(replace(t, rate_rps=t.rate_rps * rate_rps) for t in classes)
    return replace(facts, workload=replace(facts.workload, classes=scaled))


def _limited(rng: np.random.Generator, facts: PlanningFacts) -> PlanningFacts:
    classes = [traffic.query_class for traffic in facts.workload.classes]
    lower = [
        mixture_quality(facts.workload, facts.quality, {name: {model: 1.0} for name in classes})[1]
        for model in facts.models
    ]
    fleet = sum(
        facts.price_usd_per_hour[sku] * sum(nodes) for sku, nodes in facts.devices_per_node.items()
    )
    floor = min(lower) + rng.uniform(0.1, 0.5) * (max(lower) - min(lower))
    budget = fleet * rng.uniform(0.5, 0.9)
    return replace(facts, limits=Limits(float(floor), float(budget)))
