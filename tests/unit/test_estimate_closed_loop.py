"""The mean-value line agrees with a closed loop that is simulated step by step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.profile import EngineLimits, StepTime
from core.estimate.closed_loop import ClosedLoop, closed_loop_prediction
from core.estimate.simulator import Arrivals, EngineSpec, simulate
from core.estimate.simulator.oracle import simulate_slowly

SMALL = StepTime(0.010, 0.001, 4e-6, 8e-4, 0.004, 0.003)
LARGE = StepTime(0.012, 1e-4, 2e-7, 6e-5, 1e-4, 0.002)
ON_CPU = EngineLimits(8, 2048, 10_000, 16)
ON_GPU = EngineLimits(64, 2048, 100_000, 16)
SHORT_OF_CACHE = EngineLimits(64, 2048, 500, 16)
TURNS = 20


def simulated(
    step: StepTime, limits: EngineLimits, inputs: int, outputs: int, concurrency: int, simulator
) -> ClosedLoop:
    """A closed loop out of open ones: each request is sent when the one before it ended.

    Times of sending are found by simulating over and over: what happens until a moment does not
    depend on what is sent after it, so more and more of it stays the same.
    """
    rng = np.random.default_rng(3)
    shape, number = (TURNS, concurrency), TURNS * concurrency
    prompts = rng.integers(int(0.7 * inputs), int(1.3 * inputs) + 1, shape).astype(np.int64)
    answers = rng.integers(max(1, int(0.7 * outputs)), int(1.3 * outputs) + 1, shape)
    sent_s, before = np.zeros(shape), None
    none = np.zeros(number, dtype=np.int64)
    while before is None or not np.allclose(sent_s, before, atol=1e-9):
        order = np.argsort(sent_s.ravel(), kind="stable")
        back = np.argsort(order)
        arrivals = Arrivals(
            sent_s.ravel()[order], prompts.ravel()[order], answers.ravel()[order], none, none
        )
        seen = simulator([EngineSpec(0, 1, step, limits)], arrivals)
        ttft_s, e2e_s = seen.ttft_s[back].reshape(shape), seen.e2e_s[back].reshape(shape)
        before, sent_s = sent_s, np.vstack([np.zeros(concurrency), np.cumsum(e2e_s, axis=0)[:-1]])
    ended_s = before + e2e_s
    window = np.sort(ended_s.ravel())[4 * concurrency], ended_s[-1].min()
    inside = (ended_s > window[0]) & (ended_s <= window[1])
    tpot_s = ((e2e_s - ttft_s) / np.maximum(answers - 1, 1))[inside & (answers > 1)]
    found = closed_loop_prediction(
        step, limits, prompts[inside].mean(), answers[inside].mean(), concurrency
    )
    assert found.throughput_rps == pytest.approx(inside.sum() / np.ptp(window), rel=0.04)
    assert found.e2e_s == pytest.approx(e2e_s[inside].mean(), rel=0.03)
    assert found.tpot_s == pytest.approx(tpot_s.mean(), rel=0.08)
    assert found.ttft_s == pytest.approx(ttft_s[inside].mean(), rel=0.15)
    return found


@pytest.mark.parametrize("concurrency", [1, 2, 4, 8, 12])
def test_it_agrees_with_the_slow_simulation(concurrency: int) -> None:
    simulated(SMALL, ON_CPU, 30, 16, concurrency, simulate_slowly)


@pytest.mark.parametrize(
    ("step", "limits", "inputs", "outputs", "concurrency"),
    [
        (SMALL, ON_CPU, 40, 60, 4),
        (SMALL, ON_CPU, 40, 60, 32),
        (SMALL, ON_CPU, 150, 5, 8),
        (LARGE, ON_GPU, 500, 200, 8),
        (LARGE, ON_GPU, 500, 100, 32),
        (LARGE, ON_GPU, 1000, 60, 16),
        (LARGE, SHORT_OF_CACHE, 300, 100, 12),
    ],
)
def test_it_agrees_with_the_fast_simulation(
    step: StepTime, limits: EngineLimits, inputs: int, outputs: int, concurrency: int
) -> None:
    simulated(step, limits, inputs, outputs, concurrency, simulate)


lengths = st.integers(1, 4000)
seconds = st.floats(0, 0.1)


@settings(deadline=None)
@given(
    step=st.builds(StepTime, seconds.map(lambda s: s + 1e-4), *[seconds] * 5),
    prompt=lengths,
    answer=lengths,
    concurrency=st.integers(1, 500),
)
def test_littles_law_holds_and_nothing_is_negative(
    step: StepTime, prompt: int, answer: int, concurrency: int
) -> None:
    found = closed_loop_prediction(step, ON_GPU, prompt, answer, concurrency)
    assert found.throughput_rps * found.e2e_s == pytest.approx(concurrency)
    assert found.e2e_s == pytest.approx(found.ttft_s + (answer - 1) * found.tpot_s)
    assert min(found.throughput_rps, found.ttft_s) > 0
    assert found.tpot_s >= 0


def test_what_does_not_fit_the_cache_waits() -> None:
    roomy = closed_loop_prediction(LARGE, ON_GPU, 300, 200, 64)
    tight = closed_loop_prediction(LARGE, SHORT_OF_CACHE, 300, 200, 64)
    assert tight.throughput_rps < roomy.throughput_rps
    assert tight.ttft_s > 5 * roomy.ttft_s
    assert tight.tpot_s < roomy.tpot_s
