"""The fit finds the step times that a simulated engine really has."""

from array import array

import numpy as np
import pytest

from core.domain.observation import Observations
from core.domain.profile import EngineLimits, StepTime
from core.errors import NotReady
from core.estimate.simulator import Arrivals, EngineSpec
from core.estimate.simulator.oracle import simulate_slowly
from core.profiling.fit import fit_step, goodness

LIMITS = EngineLimits(8, 2048, 10_000, 16)
TRUE = StepTime(0.010, 0.001, 4e-6, 8e-4, 0.004, 0.003)


def load(
    rate_rps: float, seed: int, inputs: tuple[int, int], outputs: tuple[int, int], noise: float
) -> Observations:
    """What a client sees of an engine with the true step times, times log-normal noise."""
    rng = np.random.default_rng(seed)
    count = 60
    sent = np.cumsum(rng.exponential(1 / rate_rps, count))
    arrivals = Arrivals(
        sent,
        rng.integers(*inputs, count),
        rng.integers(*outputs, count),
        np.zeros(count, dtype=np.int64),
        np.zeros(count, dtype=np.int64),
    )
    seen = simulate_slowly([EngineSpec(0, 1, TRUE, LIMITS)], arrivals)
    factor = np.exp(noise * rng.standard_normal(count))
    return Observations(
        array("d", sent),
        array("d", seen.ttft_s * factor),
        array("d", seen.e2e_s * factor),
        array("q", arrivals.input_tokens),
        array("q", arrivals.output_tokens),
    )


def loads(noise: float) -> list[Observations]:
    return [
        load(0.5, 1, (10, 60), (20, 90), noise),
        load(0.7, 2, (120, 200), (2, 6), noise),
        load(4.0, 3, (10, 60), (20, 90), noise),
        load(5.0, 4, (10, 60), (20, 90), noise),
        load(2.0, 5, (100, 200), (20, 90), noise),
    ]


def test_the_true_step_times_are_found() -> None:
    step, fit = fit_step(loads(noise=0.0), LIMITS)
    assert step.fixed_s == pytest.approx(TRUE.fixed_s, rel=0.05)
    assert step.per_sequence_s == pytest.approx(TRUE.per_sequence_s, rel=0.1)
    assert step.per_prefill_token_s == pytest.approx(TRUE.per_prefill_token_s, rel=0.05)
    assert fit.requests == 300
    assert fit.e2e_median_error < 0.01
    assert fit.r_squared > 0.99


def test_noise_is_averaged_out_and_shows_in_the_goodness() -> None:
    noisy = loads(noise=0.1)
    step, fit = fit_step(noisy, LIMITS)
    assert 0.04 < fit.e2e_median_error < 0.12
    fresh = [load(5.0, 9, (10, 120), (10, 90), noise=0.0)]
    assert goodness(fresh, LIMITS, step).e2e_median_error < 0.04


def test_a_hiccup_does_not_bend_the_fit() -> None:
    straight = loads(noise=0.02)
    held_up = straight[0].e2e_s[:]
    held_up[10] *= 20
    first = straight[0]
    bent = Observations(
        first.sent_at_s, first.ttft_s, held_up, first.input_tokens, first.output_tokens
    )
    step, _ = fit_step([bent, *straight[1:]], LIMITS)
    assert goodness(loads(0.0), LIMITS, step).e2e_median_error < 0.03


def slower(seen: Observations, factor: float) -> Observations:
    """The same load on a machine that takes so much longer over everything, arrivals included."""

    def longer(times: "array[float]") -> "array[float]":
        return array("d", [factor * value for value in times])

    times = (longer(times) for times in (seen.sent_at_s, seen.ttft_s, seen.e2e_s))
    return Observations(*times, seen.input_tokens, seen.output_tokens)


def test_loads_that_met_a_slow_machine_do_not_bend_the_fit_but_show_in_it() -> None:
    fair = loads(noise=0.02)
    step, fit = fit_step([*fair, *(slower(load, 1.5) for load in fair)], LIMITS)
    factors = [1.0] * len(fair) + [1.5] * len(fair)
    assert fit.speed_variation == pytest.approx(np.std(np.log(factors), ddof=1), rel=0.1)
    usual = [slower(load, 1.5**0.5) for load in loads(noise=0.0)]
    assert goodness(usual, LIMITS, step).e2e_median_error < 0.05


def test_on_a_steady_machine_speed_does_not_vary() -> None:
    _, fit = fit_step(loads(noise=0.02), LIMITS)
    assert fit.speed_variation < 0.02


def test_a_handful_of_answers_is_not_enough() -> None:
    few = Observations(*(array("d", [0.1]) for _ in range(3)), array("q", [1]), array("q", [1]))
    with pytest.raises(NotReady, match="too few"):
        fit_step([few], LIMITS)
