"""Calibration: what a few points teach, and whether sigma keeps its word."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.estimate.architecture import ModelShape
from core.estimate.calibration import Calibration, Measured
from core.estimate.effects import Case, Effects
from core.estimate.hardware import sku_facts
from core.estimate.roofline import Load, Placed, StepCost

SHAPES = {
    "8b": ModelShape(32, 4096, 32, 8, 128, 14336, 128_256),
    "7b": ModelShape(32, 4096, 32, 32, 128, 11008, 32000),
    "70b": ModelShape(80, 8192, 64, 8, 128, 28672, 128_256),
}
SKUS = ("A100-SXM-80GB", "H100-SXM-80GB", "H200-SXM-141GB", "L40S", "MI300X")


def case(model: str = "8b", sku: str = "H100", batch: int = 16, prompt: bool = False) -> Case:
    """One decoding step, or one prompt."""
    load = (
        Load(prompts=1, prompt_tokens=100 * batch)
        if prompt
        else Load(decoding=batch, context_tokens=500.0 * batch)
    )
    cost = Placed(SHAPES[model], sku_facts(sku), 4).cost(load)
    return Case("vllm", sku_facts(sku), model, cost, batch, 512, 4)


def times_longer(factor: float, cases: Sequence[Case]) -> list[Measured]:
    return [Measured(c, factor * c.predicted_s) for c in cases]


LADDER = (1, 4, 16, 64)


def test_without_points_the_roofline_speaks_and_doubts_itself() -> None:
    nothing = Calibration.fit([])
    value_s, sigma = nothing.corrected(case())
    assert value_s == pytest.approx(case().predicted_s)
    assert 0.3 < sigma < 1.0
    assert nothing.factors(case()) == StepCost(1, 1, 1, 1, 1, 1)


def test_points_on_one_sku_help_it_much_its_generation_less_strangers_little() -> None:
    points = times_longer(1.5, [case(sku="H100", batch=b) for b in LADDER])
    points += times_longer(1.5, [case(sku="H100", batch=b, prompt=True) for b in LADDER])
    known = Calibration.fit(points)

    def moved(**which: str) -> float:
        about = case(**which)  # type: ignore[arg-type]
        return math.log(known.corrected(about).value_s / about.predicted_s) / math.log(1.5)

    assert moved(sku="H100") == pytest.approx(1, abs=0.1)
    assert 0.5 < moved(sku="H100", model="70b") <= 1.05
    assert moved(sku="MI300X", model="70b") < moved(sku="H200", model="70b") < moved(sku="H100")
    assert moved(sku="MI300X", model="70b") > 0.1


def test_sigma_falls_with_points_and_with_nearness() -> None:
    few = Calibration.fit(times_longer(1.2, [case(batch=4), case(batch=32, prompt=True)]))
    many = Calibration.fit(
        times_longer(1.2, [case(batch=b, prompt=p) for b in LADDER for p in (False, True)])
    )
    before = Calibration().corrected(case()).sigma
    assert many.corrected(case()).sigma < few.corrected(case()).sigma < before
    assert many.corrected(case()).sigma < many.corrected(case(sku="L40S")).sigma


def test_corrections_by_cause_are_the_corrected_time() -> None:
    known = Calibration.fit(times_longer(1.4, [case(batch=b) for b in LADDER]))
    about = case(batch=8)
    parts = zip(about.cost, known.factors(about), strict=True)
    assert sum(cost * factor for cost, factor in parts) == pytest.approx(
        known.corrected(about).value_s
    )


def test_a_slow_prefill_does_not_slow_decoding() -> None:
    points = times_longer(2.0, [case(batch=b, prompt=True) for b in (16, 64)])
    points += times_longer(1.0, [case(batch=b) for b in LADDER])
    known = Calibration.fit(points)
    decoding, prefill = case(batch=16), case(batch=32, prompt=True)
    assert known.corrected(decoding).value_s == pytest.approx(decoding.predicted_s, rel=0.1)
    assert known.corrected(prefill).value_s == pytest.approx(2 * prefill.predicted_s, rel=0.15)


def test_one_failed_run_among_many_points_is_ignored() -> None:
    good = times_longer(1.1, [case(batch=b) for b in (1, 2, 4, 8, 16, 32, 64)])
    bad = Measured(case(batch=12), 40 * case(batch=12).predicted_s)
    with_bad = Calibration.fit([*good, bad]).corrected(case()).value_s
    assert with_bad == pytest.approx(1.1 * case().predicted_s, rel=0.1)


def test_times_that_cannot_be_are_left_out() -> None:
    free = replace(case(), cost=StepCost(0, 0, 0, 0, 0, 0))
    assert Calibration.fit([Measured(case(), 0.0), Measured(free, 1.0)]).points == 0


def _world(generator: np.random.Generator) -> list[Measured]:
    """Draw what is true from the priors, and measure it with noise."""
    cases = [
        case(model, sku, batch, prompt)
        for model in SHAPES
        for sku in SKUS
        for batch in LADDER
        for prompt in (False, True)
    ]
    effects = Effects()
    design = effects.design(cases)
    truth = generator.normal(0, np.sqrt(effects.prior_variance(1.0, 1.0)))
    times_s = np.exp(design.log_time(truth) + generator.normal(0, 0.05, len(cases)))
    return [Measured(c, float(t)) for c, t in zip(cases, times_s, strict=True)]


def test_ninety_percent_intervals_hold_nine_times_in_ten() -> None:
    """Twenty worlds as the priors say they are; a third of the pairs is measured."""
    generator, held, before, after = np.random.default_rng(3), [], [], []
    for _ in range(20):
        world = _world(generator)
        pairs = sorted({m.case.at("pair") for m in world})
        known = set(generator.choice(pairs, 5, replace=False).tolist())
        calibration = Calibration.fit([m for m in world if m.case.at("pair") in known][::2])
        rest = [m for m in world if m.case.at("pair") not in known]
        values_s, sigmas = calibration.corrected_all([m.case for m in rest])
        truth_s = np.array([m.measured_s for m in rest])
        held += (np.abs(np.log(values_s / truth_s)) < 1.6449 * sigmas).tolist()
        after.append(np.median(np.abs(np.log(values_s / truth_s))))
        rooflines_s = np.array([m.case.predicted_s for m in rest])
        before.append(np.median(np.abs(np.log(rooflines_s / truth_s))))
    assert 0.85 < np.mean(held) < 0.97
    assert np.mean(after) < 0.6 * np.mean(before)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.floats(0.05, 20), min_size=1, max_size=6), st.sampled_from(SKUS))
def test_any_measurement_is_survived(factors: list[float], sku: str) -> None:
    points = [
        Measured(case("7b", sku, 2**i), factor * case("7b", sku, 2**i).predicted_s)
        for i, factor in enumerate(factors)
    ]
    known = Calibration.fit(points)
    value_s, sigma = known.corrected(case("7b", sku))
    assert math.isfinite(value_s)
    assert 0.02 < sigma < 5
    ratio = value_s / case("7b", sku).predicted_s
    # Effects of the batch are extrapolated to the case, so it may lie beyond what was measured.
    assert 0.05 * min(1, *factors) < ratio < 20 * max(1, *factors)


@settings(deadline=None)
@given(st.data())
def test_the_jacobian_is_the_slope(data: st.DataObject) -> None:
    effects = Effects()
    design = effects.design([case(), case("70b", "MI300X", 3, prompt=True)])
    count = len(effects.number)
    at = np.random.default_rng(data.draw(st.integers(0, 99))).normal(0, 0.3, count)
    which, small = data.draw(st.integers(0, count - 1)), 1e-6
    step = small * np.eye(count)[which]
    slope = (design.log_time(at + step) - design.log_time(at - step)) / (2 * small)
    assert design.jacobian(at)[:, which] == pytest.approx(slope, abs=1e-6)
