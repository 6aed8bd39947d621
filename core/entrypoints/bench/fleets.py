"""Planning problems of any size on real device types, drawn by seed.

Profiles are the roofline's, of Llama-shaped models on data sheets; a problem has one device type
for each of the first `skus` rows of PRICES, in nodes of eight.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from core.domain.intervals import wilson
from core.domain.plan import ReplicaKind
from core.domain.planning import PlanningFacts
from core.domain.profile import Profile, Provenance
from core.domain.quality import QualityEstimate
from core.domain.study import Limits
from core.domain.workload import ClassTraffic, Workload
from core.errors import Infeasible
from core.estimate.architecture import ModelShape, parse_shape
from core.estimate.hardware import sku_facts
from core.estimate.predicted import predicted_profile
from core.estimate.roofline import Placed
from core.optimize.milp import Goal
from core.optimize.problem import Problem
from core.optimize.seeds import SeedPlanner

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PRICES = {
    "H100-SXM-80GB": 2.9,
    "L40S": 1.0,
    "A100-SXM-80GB": 1.7,
    "L4": 0.45,
    "H200-SXM-141GB": 3.7,
    "A10": 0.55,
    "B200-SXM-180GB": 5.5,
    "A100-SXM-40GB": 1.3,
}
"""$/h of one device; usual asking prices, varied by seed."""
SHAPES = (
    (16, 2048, 32, 8, 8192),
    (32, 4096, 32, 8, 14336),
    (80, 8192, 64, 8, 28672),
    (28, 3072, 24, 8, 8192),
    (48, 5120, 40, 8, 17408),
    (40, 5120, 40, 8, 13824),
    (64, 5120, 64, 8, 25600),
    (32, 2560, 32, 8, 9728),
    (36, 4096, 32, 8, 12288),
    (28, 2048, 16, 8, 6144),
)
"""Layers, hidden, heads, key/value heads, intermediate of Llama-like models, 1 to 70 billion
parameters."""
NODE = 8
PARALLEL = ((1, 1), (2, 1), (4, 1), (8, 1), (8, 2))
CLASSES = 6
MAX_NUM_SEQS = 128
MAX_MODEL_LEN = 8192
SCORED = 400
FLOOR_SHARE = 0.6
LOAD = 0.6


def fleet_problem(
    seed: int, models: int, skus: int, devices: int, load: float = LOAD
) -> PlanningFacts:
    """Return a problem.

    Args:
        seed: Of prices, traffic and quality.
        models: At most ten.
        skus: At most eight.
        devices: GPUs of the whole fleet, at least eight per device type.
        load: Traffic as a fraction of the most that the whole fleet serves at the floor.
    """
    rng = np.random.default_rng([8, seed])
    names = list(PRICES)[:skus]
    prices = {name: PRICES[name] * float(np.exp(rng.normal(0, 0.15))) for name in names}
    shapes = {f"model-{i}": _shape(*SHAPES[i]) for i in range(models)}
    classes = _classes(rng)
    workload = Workload("w", "fleet", classes, Provenance.IMPORTED, NOW)
    facts = PlanningFacts(
        workload=workload,
        limits=Limits(),
        profiles={
            kind: profile
            for model, shape in shapes.items()
            for name in names
            for kind, profile in _profiles(model, shape, name)
        },
        quality=_quality(rng, shapes, classes),
        price_usd_per_hour=prices,
        devices_per_node={name: _nodes(devices, skus, i) for i, name in enumerate(names)},
        max_num_seqs=dict.fromkeys(shapes, MAX_NUM_SEQS),
    )
    return _loaded(_limited(facts), load)


def _nodes(devices: int, skus: int, position: int) -> tuple[int, ...]:
    """Nodes of eight and what is left; devices are dealt out evenly."""
    mine = devices // skus + (position < devices % skus)
    rest = mine % NODE
    return (NODE,) * (mine // NODE) + ((rest,) if rest else ())


def _shape(layers: int, hidden: int, heads: int, kv_heads: int, intermediate: int) -> ModelShape:
    return parse_shape(
        {
            "model_type": "llama",
            "num_hidden_layers": layers,
            "hidden_size": hidden,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "intermediate_size": intermediate,
            "vocab_size": 128_256,
        }
    )


def _profiles(model: str, shape: ModelShape, sku: str) -> list[tuple[ReplicaKind, Profile]]:
    """The smallest three groups of devices that hold the model and one long request."""
    made = []
    for tp, pp in PARALLEL:
        if shape.heads % tp:
            continue
        placed = Placed(shape, sku_facts(sku), tp, pp)
        if placed.kv_tokens >= MAX_MODEL_LEN:
            kind = ReplicaKind(model, sku, tp, pp)
            limits: dict[str, Any] = {
                "max_num_seqs": MAX_NUM_SEQS,
                "max_model_len": MAX_MODEL_LEN,
            }
            made.append((kind, predicted_profile(model, placed, NOW, kind.label, **limits)))
    return made[:3]


def _classes(rng: np.random.Generator) -> tuple[ClassTraffic, ...]:
    """Shares Dirichlet(2); prompts of 100 to 3000 tokens, answers of 40 to 600, log-uniform."""
    classes = []
    for k, share in enumerate(rng.dirichlet(np.full(CLASSES, 2.0))):
        inputs, outputs = np.exp(rng.uniform(np.log([100, 40]), np.log([3000, 600])))
        spread = rng.uniform(0.4, 1.0, 2)
        classes.append(
            ClassTraffic(
                f"class-{k}",
                float(share),
                float(inputs),
                float(outputs),
                float(inputs * spread[0]),
                float(outputs * spread[1]),
            )
        )
    return tuple(classes)


def _quality(
    rng: np.random.Generator, shapes: dict[str, ModelShape], classes: Sequence[ClassTraffic]
) -> dict[tuple[str, str], QualityEstimate]:
    """Logistic in the logarithm of the size less the difficulty of the class, with some luck."""
    difficulty = rng.uniform(-1.0, 3.0, len(classes))
    quality = {}
    for model, shape in shapes.items():
        skill = np.log(shape.parameters / 1e9) + rng.normal(0, 0.2)
        for traffic, hard in zip(classes, difficulty, strict=True):
            mean = float(1 / (1 + np.exp(hard - skill + rng.normal(0, 0.2))))
            low, high = wilson(mean, SCORED)
            tokens = traffic.output_tokens_mean
            quality[model, traffic.query_class] = QualityEstimate(
                model, traffic.query_class, SCORED, mean, low, high, tokens, NOW
            )
    return quality


def _loaded(facts: PlanningFacts, load: float) -> PlanningFacts:
    """Scale the traffic to a fraction of the most that the fleet serves at the floor."""
    limits = facts.limits
    most = SeedPlanner(Problem(facts)).solve(
        Goal(limits.quality_floor, limits.max_utilisation, None, "unserved", gap=1e-2)
    )
    if most is None:
        raise Infeasible("No routing of this fleet reaches its floor.", "Take another seed.")
    classes = tuple(
        replace(traffic, rate_rps=traffic.rate_rps * load * most.served)
        for traffic in facts.workload.classes
    )
    return replace(facts, workload=replace(facts.workload, classes=classes))


def _limited(facts: PlanningFacts) -> PlanningFacts:
    """The floor: three fifths of the way from the worst single model to the best."""
    lowers = [
        sum(
            facts.workload.weight(t.query_class) * facts.quality[model, t.query_class].lower
            for t in facts.workload.classes
        )
        for model in facts.models
    ]
    floor = min(lowers) + FLOOR_SHARE * (max(lowers) - min(lowers))
    return replace(facts, limits=Limits(quality_floor=float(floor)))
