"""Roofline: what has to hold by physics, and profiles made of it."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.profile import Provenance
from core.errors import InvalidInput
from core.estimate.architecture import ModelShape
from core.estimate.hardware import catalogue, sku_facts
from core.estimate.predicted import measured_points, predicted_profile
from core.estimate.roofline import (
    BANDWIDTH_EFFICIENCY,
    COMPUTE_EFFICIENCY,
    Load,
    Placed,
    batch_cost,
    engine_limits,
    roofline_step,
)
from core.estimate.simulator.oracle import simulate_slowly
from core.estimate.simulator.spec import Arrivals, EngineSpec

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LLAMA_8B = ModelShape(32, 4096, 32, 8, 128, 14336, 128_256)
LLAMA_70B = ModelShape(80, 8192, 64, 8, 128, 28672, 128_256)
MIXTRAL = ModelShape(
    32, 4096, 32, 8, 128, 14336, 32000, experts=8, experts_per_token=2, moe_intermediate=14336
)
SHAPES = st.sampled_from([LLAMA_8B, LLAMA_70B, MIXTRAL])
SKUS = st.sampled_from(sorted(catalogue()))
H100 = sku_facts("H100")


def test_one_token_alone_reads_the_weights_and_little_else() -> None:
    cost = Placed(LLAMA_8B, H100).cost(Load(decoding=1, context_tokens=100))
    read = (LLAMA_8B.parameters - LLAMA_8B.embedding_parameters) * 2
    assert cost.memory_s == pytest.approx(
        read / (H100.bandwidth_bytes_per_s * BANDWIDTH_EFFICIENCY), rel=1e-3
    )
    assert cost.memory_s > 0.6 * sum(cost)


def test_a_long_prompt_computes_and_little_else() -> None:
    cost = Placed(LLAMA_8B, H100).cost(Load(prompts=1, prompt_tokens=2048))
    blocks = LLAMA_8B.parameters - 2 * LLAMA_8B.embedding_parameters
    least_s = 2 * blocks * 2048 / (H100.dense_fp16_flops * COMPUTE_EFFICIENCY)
    # Attention over the prompt itself is on top.
    assert least_s < cost.compute_s < 1.15 * least_s
    assert cost.compute_s > 0.7 * sum(cost)


@settings(deadline=None)
@given(SHAPES, SKUS, st.integers(1, 200), st.integers(1, 4000))
def test_more_work_never_takes_less(shape: ModelShape, sku: str, n: int, tokens: int) -> None:
    placed = Placed(shape, sku_facts(sku), 2)
    small = sum(placed.cost(Load(n, n * tokens, 1, tokens)))
    for more in (
        Load(n + 1, n * tokens, 1, tokens),
        Load(n, n * tokens + 1, 1, tokens),
        Load(n, n * tokens, 1, tokens + 1),
    ):
        assert sum(placed.cost(more)) > small * (1 - 1e-12)


@settings(deadline=None)
@given(SHAPES, SKUS, st.sampled_from([1, 2, 4]), st.integers(1, 500))
def test_ranks_divide_work_but_talk(shape: ModelShape, sku: str, tp: int, n: int) -> None:
    one = Placed(shape, sku_facts(sku), tp).cost(Load(n, 100.0 * n))
    two = Placed(shape, sku_facts(sku), 2 * tp).cost(Load(n, 100.0 * n))
    assert two.memory_s == pytest.approx(one.memory_s / 2)
    assert two.compute_s == pytest.approx(one.compute_s / 2)
    assert two.communication_s > one.communication_s


@settings(deadline=None)
@given(st.integers(1, 2000))
def test_experts_touched_are_those_of_a_random_draw(tokens: int) -> None:
    """The oracle throws the dice."""
    generator = np.random.default_rng(tokens)
    draws = [
        len(np.unique(np.argsort(generator.random((tokens, 8)), axis=1)[:, :2])) for _ in range(20)
    ]
    cost = Placed(MIXTRAL, H100).cost(Load(decoding=tokens))
    everything = Placed(MIXTRAL, H100).cost(Load(decoding=10**6)).memory_s
    expert_s = (
        MIXTRAL.moe_layers
        * MIXTRAL.expert_parameters
        * 2
        / (H100.bandwidth_bytes_per_s * BANDWIDTH_EFFICIENCY)
    )
    untouched = (everything - cost.memory_s) / expert_s
    assert untouched == pytest.approx(8 - np.mean(draws), abs=0.75)


@settings(deadline=None)
@given(SHAPES, st.integers(1, 4), st.integers(1, 200))
def test_pipeline_stages_share_what_is_not_the_weights(shape: ModelShape, pp: int, n: int) -> None:
    load = Load(n, 300.0 * n, 1, 1000)
    one, staged = Placed(shape, H100).cost(load), Placed(shape, H100, 1, pp).cost(load)
    assert staged.memory_s == one.memory_s
    assert one.compute_s / pp <= staged.compute_s * (1 + 1e-9) <= one.compute_s * (1 + 2e-9)
    assert staged.attention_s == pytest.approx(one.attention_s / pp)


def test_fp8_is_read_and_computed_faster_than_fp16() -> None:
    fp8 = replace(LLAMA_8B, weight_bytes_per_parameter=1.0, fp8_compute=True)
    load = Load(decoding=8, prompts=1, prompt_tokens=1000)
    half, quarter = Placed(LLAMA_8B, H100).cost(load), Placed(fp8, H100).cost(load)
    assert 0.5 < quarter.memory_s / half.memory_s < 0.6
    assert quarter.compute_s == pytest.approx(half.compute_s / 2, rel=0.01)
    on_a100 = Placed(fp8, sku_facts("A100"))
    assert on_a100.cost(load).compute_s == Placed(LLAMA_8B, sku_facts("A100")).cost(load).compute_s


def test_the_cache_is_what_weights_leave() -> None:
    alone = Placed(LLAMA_8B, H100)
    assert alone.kv_tokens * 131072 < H100.memory_bytes * 0.9 - LLAMA_8B.weight_bytes
    assert alone.kv_tokens > 350_000
    assert Placed(LLAMA_70B, H100).kv_tokens < 0
    assert Placed(LLAMA_70B, H100, 4).kv_tokens > 300_000


@pytest.mark.parametrize("tp", [0, 3, 64])
def test_ranks_that_do_not_divide_the_heads_are_refused(tp: int) -> None:
    with pytest.raises(InvalidInput, match="TP"):
        Placed(LLAMA_8B, H100, tp)


@settings(deadline=None)
@given(SHAPES, SKUS, st.sampled_from([1, 16, 256]), st.integers(1, 2000))
def test_a_step_time_is_close_to_what_steps_cost(
    shape: ModelShape, sku: str, max_num_seqs: int, prompt: int
) -> None:
    placed = Placed(shape, sku_facts(sku), 2)
    step = roofline_step(placed.cost, max_num_seqs, prompt)
    assert min(step.fixed_s, step.per_context_token_s, step.per_prefill_token_s) >= 0
    for n in {1, max(2, max_num_seqs)}:
        load = Load(n, n * 500.0)
        linear = step.fixed_s + step.per_sequence_s * n + step.per_context_token_s * n * 500
        # One line cannot follow experts that fill up: alone, a token is said to take too long.
        bends = 0.6 if shape.experts else 0.02
        assert linear == pytest.approx(sum(placed.cost(load)), rel=bends)
    alone = sum(placed.cost(Load(prompts=1, prompt_tokens=prompt)))
    linear = step.fixed_s + step.per_sequence_s + step.per_request_s
    linear += step.per_prefill_token_s * prompt
    assert linear == pytest.approx(alone, rel=0.45 if shape.experts else 0.02)


@pytest.mark.parametrize(
    ("batch", "prompt", "answer", "blocks"),
    [(4, 64, 40, 10_000), (16, 128, 60, 10_000), (24, 96, 64, 100), (12, 200, 100, 60)],
)
def test_a_batch_takes_what_the_slow_simulation_says(
    batch: int, prompt: int, answer: int, blocks: int
) -> None:
    placed = Placed(LLAMA_8B, H100)
    step = roofline_step(placed.cost, 256, prompt)
    weights = placed.sku.memory_bytes * 0.9 - 2 * 2**30 - placed.kv_tokens * 131072.0
    # A device that has exactly so many blocks beside the weights.
    small = replace(
        placed.sku, memory_bytes=int((weights + 2 * 2**30 + blocks * 16 * 131072.5) / 0.9)
    )
    narrow = Placed(LLAMA_8B, small)
    limits = replace(engine_limits(narrow, 256, 8192), kv_blocks=blocks)
    same = np.full(batch, 0, dtype=np.int64)
    arrivals = Arrivals(np.zeros(batch), same + prompt, same + answer, same, same)
    seen = simulate_slowly([EngineSpec(0, 1, step, limits)], arrivals)
    predicted = sum(map(sum, batch_cost(narrow, batch, prompt, answer)))
    assert predicted == pytest.approx(float(np.max(seen.e2e_s)), rel=0.25)


def test_a_predicted_profile_works_like_any_other() -> None:
    placed = Placed(LLAMA_8B, H100)
    profile = predicted_profile("m", placed, NOW, "p", max_num_seqs=64, max_model_len=4096)
    assert profile.provenance is Provenance.PREDICTED
    assert profile.engine == "roofline"
    assert profile.step is not None
    assert profile.engine_limits is not None
    assert profile.engine_limits.kv_tokens > 350_000
    assert 0.1 < (profile.relative_error or 0) < 1
    held = [level.concurrency for level in profile.levels]
    assert held[0] == 1
    assert held == sorted(held)
    throughput = [level.output_tokens_per_s for level in profile.levels]
    assert throughput == sorted(throughput)
    # Llama-3.1-8B in fp16 on an H100 gives a lone user somewhat over 100 tokens per second.
    assert 80 < 1000 / profile.levels[0].tpot_ms.mean < 200


def test_what_does_not_fit_says_why() -> None:
    with pytest.raises(InvalidInput, match=r"131\.4 GiB of 80 GiB") as caught:
        predicted_profile(
            "big", Placed(LLAMA_70B, H100), NOW, "p", max_num_seqs=1, max_model_len=1
        )
    assert "TP" in caught.value.hint
    with pytest.raises(InvalidInput, match="leaves a cache of"):
        predicted_profile(
            "long", Placed(LLAMA_8B, H100), NOW, "p", max_num_seqs=1, max_model_len=10**6
        )


def test_a_profile_teaches_its_own_times() -> None:
    """A profile that the roofline predicted is measured as the roofline predicts."""
    placed = Placed(LLAMA_8B, H100)
    profile = predicted_profile("m", placed, NOW, "p", max_num_seqs=32, max_model_len=4096)
    points = measured_points(profile, LLAMA_8B, H100)
    assert len(points) == len(profile.levels) + 1
    for point in points:
        assert point.measured_s == pytest.approx(point.case.predicted_s, rel=0.15)
