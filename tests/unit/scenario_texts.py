"""A small valid scenario, to be changed by tests, and random planning problems for round trips."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from core.domain.cascade import CascadeEstimate
from core.domain.plan import ReplicaKind
from core.domain.planning import PlanningFacts
from core.domain.profile import (
    EngineLimits,
    LoadLevel,
    Profile,
    Provenance,
    Spread,
    StepFit,
    StepTime,
)
from core.domain.quality import QualityEstimate
from core.domain.study import Limits
from core.domain.workload import ClassTraffic, Workload

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SMALL = """\
version: 1
fleet:
  - {sku: a10, devices_per_node: 2}
prices_usd_per_hour:
  a10: 1.0
models:
  - {name: m, max_num_seqs: 8}
profiles:
  - model: m
    sku: a10
    step: {fixed_s: 0.01, per_sequence_s: 0.001, per_context_token_s: 0, per_prefill_token_s: 1e-5}
    engine_limits: {max_num_seqs: 8, max_num_batched_tokens: 2048, kv_blocks: 1000}
quality:
  - {model: m, query_class: q, n: 100, mean: 0.8}
workload:
  classes:
    - {query_class: q, rate_rps: 1.0, input_tokens_mean: 100, output_tokens_mean: 50}
"""
names = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_subnormal=False)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


spreads = st.builds(Spread, *[numbers(0, 1e6)] * 4)
levels = st.builds(
    LoadLevel,
    concurrency=st.integers(1, 4096),
    requests=st.integers(1, 10**6),
    errors=st.integers(0, 10**6),
    duration_s=numbers(1e-3, 1e6),
    ttft_ms=spreads,
    tpot_ms=spreads,
    e2e_ms=spreads,
    input_tokens_mean=numbers(0, 1e6),
    output_tokens_mean=numbers(0, 1e6),
    memory_bytes=st.integers(0, 2**50),
    rate_rps=maybe(numbers(1e-6, 1e6)),
    half_width=maybe(numbers(0, 10)),
)
steps = st.builds(StepTime, numbers(1e-9, 1), *[numbers(0, 1)] * 5)
fits = st.builds(StepFit, st.integers(1, 10**6), numbers(-10, 1), numbers(0, 9), numbers(0, 9))
engine_limits = st.builds(EngineLimits, *[st.integers(1, 10**5)] * 4)


@st.composite
def profiles(draw: st.DrawFn, kind: ReplicaKind) -> Profile:
    return Profile(
        profile_id="",
        model=kind.model,
        sku=kind.sku,
        tp=kind.tp,
        pp=kind.pp,
        provenance=draw(st.sampled_from(Provenance)),
        measured_at=draw(moments),
        engine=draw(names | st.just("")),
        host=draw(names | st.just("")),
        startup_s=draw(numbers(0, 1e4)),
        levels=tuple(draw(st.lists(levels, min_size=1, max_size=3))),
        step=draw(maybe(steps)),
        fit=draw(maybe(fits)),
        engine_limits=draw(maybe(engine_limits)),
        relative_error=draw(maybe(numbers(0, 5))),
    )


@st.composite
def estimates(draw: st.DrawFn, model: str, query_class: str) -> QualityEstimate:
    low, mean, high = sorted(draw(st.tuples(*[numbers(0, 1)] * 3)))
    n, tokens = draw(st.integers(0, 10**6)), draw(numbers(0, 1e5))
    metric, provenance = draw(names | st.just("")), draw(st.sampled_from(Provenance))
    return QualityEstimate(
        model, query_class, n, mean, low, high, tokens, draw(moments), metric, provenance
    )


@st.composite
def cascades(draw: st.DrawFn, models: list[str], classes: list[str]) -> list[CascadeEstimate]:
    if len(models) < 2:
        return []
    low, mean, high = sorted(draw(st.tuples(*[numbers(0, 1)] * 3)))
    made = st.builds(
        CascadeEstimate,
        st.sampled_from(classes),
        st.just(models[0]),
        st.just(models[1]),
        numbers(-1e6, 0),
        escalated=numbers(0, 1),
        n=st.integers(0, 10**6),
        mean=st.just(mean),
        lower=st.just(low),
        upper=st.just(high),
    )
    return draw(st.lists(made, max_size=3, unique_by=lambda cascade: cascade.key))


@st.composite
def problems(draw: st.DrawFn) -> PlanningFacts:
    models = draw(st.lists(names, min_size=1, max_size=2, unique=True))
    skus = draw(st.lists(names, min_size=1, max_size=2, unique=True))
    classes = draw(st.lists(names, min_size=1, max_size=3, unique=True))
    parallel = st.integers(1, 8)
    kinds = [
        ReplicaKind(model, sku, draw(parallel), draw(parallel)) for model in models for sku in skus
    ]
    traffic = st.tuples(
        numbers(1e-6, 1e6),
        numbers(0, 1e6),
        numbers(1, 1e6),
        numbers(0, 1e6),
        numbers(0, 1e6),
        numbers(-1, 1),
    )
    nodes = st.lists(st.integers(1, 16), max_size=4).map(tuple)
    return PlanningFacts(
        workload=Workload(
            "scenario",
            draw(names),
            tuple(ClassTraffic(name, *draw(traffic)) for name in classes),
            draw(st.sampled_from(Provenance)),
            NOW,
            burstiness=draw(numbers(0.01, 100)),
            source=draw(names | st.just("")),
        ),
        limits=Limits(
            draw(numbers(0, 1)),
            draw(maybe(numbers(1e-6, 1e6))),
            draw(maybe(numbers(1e-6, 1e6))),
            draw(numbers(0.05, 0.99)),
        ),
        profiles={kind: draw(profiles(kind)) for kind in kinds},
        quality={(m, c): draw(estimates(m, c)) for m in models for c in classes},
        price_usd_per_hour={sku: draw(numbers(1e-6, 1e5)) for sku in skus},
        devices_per_node={sku: draw(nodes) for sku in skus},
        max_num_seqs={m: draw(st.integers(1, 10**4)) for m in models if draw(st.booleans())},
        cascades=tuple(draw(cascades(models, classes))),
    )
