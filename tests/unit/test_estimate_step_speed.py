"""Mean-value arithmetic of a step-time model against the simulator."""

import numpy as np
import pytest

from core.domain.profile import EngineLimits, StepTime
from core.domain.workload import ClassTraffic
from core.estimate.simulator import Arrivals, EngineSpec, simulate
from core.estimate.step_speed import speed_of_step

CPU = StepTime(0.0097, 0.001, 1e-6, 7.6e-4, 0.002, 0.004)
GPU = StepTime(0.008, 5e-5, 1e-7, 2e-5, 2e-4, 0.003)
ROUNDS = 16


def closed_loop(
    step: StepTime, held: int, inputs: int, outputs: int
) -> tuple[float, float, float]:
    """Mean TTFT, end-to-end time and answer length: each answer asks the next question.

    The simulator wants arrival times, which follow from its own answers: every pass makes the
    first wrong one right, until nothing changes any more.
    """
    limits = EngineLimits(256, 2048, 10**6, 16)
    sent = np.zeros((ROUNDS, held))
    # Slots start apart and answers differ, or the slots fall into step.
    rng = np.random.default_rng(0)
    sent[:] = rng.uniform(0, outputs * step.fixed_s, held)
    answers = rng.integers(outputs // 2, outputs + outputs // 2 + 1, sent.size)
    while True:
        order = np.argsort(sent, axis=None, kind="stable")
        ones = np.ones(sent.size, dtype=np.int64)
        arrivals = Arrivals(sent.ravel()[order], inputs * ones, answers[order], 0 * ones, 0 * ones)
        seen = simulate([EngineSpec(0, 1, step, limits)], arrivals)
        e2e = np.empty(sent.size)
        e2e[order] = seen.e2e_s
        ttft = np.empty(sent.size)
        ttft[order] = seen.ttft_s
        next_sent = (sent + e2e.reshape(sent.shape))[:-1]
        if np.allclose(next_sent, sent[1:], rtol=0, atol=1e-9):
            break
        sent[1:] = next_sent
    settled = slice(ROUNDS // 4, ROUNDS - 4)
    shape = (ROUNDS, held)
    ttft_s, e2e_s, length = (x.reshape(shape)[settled].mean() for x in (ttft, e2e, answers))
    return float(ttft_s), float(e2e_s), float(length)


@pytest.mark.parametrize("step", [CPU, GPU], ids=["cpu", "gpu"])
@pytest.mark.parametrize("held", [1, 2, 5, 8])
@pytest.mark.parametrize(("inputs", "outputs"), [(20, 40), (150, 20), (60, 90)])
def test_a_closed_loop_takes_what_the_simulator_says(
    step: StepTime, held: int, inputs: int, outputs: int
) -> None:
    ttft_s, e2e_s, length = closed_loop(step, held, inputs, outputs)
    limits = EngineLimits(held, 2048, 10**6, 16)
    speed = speed_of_step(step, limits, [ClassTraffic("a", 1, inputs, length)], [length])
    assert speed.concurrency[-1] == held
    assert speed.e2e_s[-1, 0] == pytest.approx(e2e_s, rel=0.05)
    assert speed.ttft_s[-1, 0] == pytest.approx(ttft_s, rel=0.2)


def test_classes_differ_by_their_own_lengths() -> None:
    classes = [ClassTraffic("short", 3, 20, 10), ClassTraffic("long", 1, 150, 60)]
    speed = speed_of_step(CPU, EngineLimits(8, 2048, 10**6, 16), classes, [10, 60])
    assert np.all(speed.e2e_s[:, 1] > 3 * speed.e2e_s[:, 0])
    assert np.all(speed.ttft_s[:, 1] > speed.ttft_s[:, 0])
    assert np.all(np.diff(speed.e2e_s, axis=0) > 0)


def test_the_cache_limits_how_many_are_held() -> None:
    limits = EngineLimits(64, 2048, 40, 16)
    speed = speed_of_step(CPU, limits, [ClassTraffic("a", 1, 100, 60)], [60])
    assert speed.concurrency[-1] == 4


def test_lengths_that_vary_spread_the_times() -> None:
    same = [ClassTraffic("a", 1, 100, 60)]
    varied = [ClassTraffic("a", 1, 100, 60, 50, 60)]
    limits = EngineLimits(8, 2048, 10**6, 16)
    narrow = speed_of_step(CPU, limits, same, [60])
    wide = speed_of_step(CPU, limits, varied, [60])
    assert np.all(wide.e2e_sigma > 0.4)
    assert np.all(wide.ttft_sigma > narrow.ttft_sigma)
    assert np.all(narrow.e2e_sigma < 0.05)
