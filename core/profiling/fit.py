"""Fits a step-time model to what load levels saw, by replaying them in the simulator.

A request's latency depends on what else ran beside it, so no formula gives the coefficients from
single answers. The simulator does: each load is replayed with the times at which its requests
were really sent, and the coefficients are those with which the simulated times to first token and
end-to-end times come closest to the measured ones: non-negative least squares on logarithms with
a soft-L1 loss, so that an answer which met a hiccup of the machine counts less.

A machine that is shared is not equally fast in every load. Left out, that would be taken for an
effect of whatever load happened to meet a slow moment. So each load has a factor of its own on all
times, drawn towards 1 (a random effect); how much the factors vary is part of the result.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from core.domain.observation import Observations
from core.domain.profile import EngineLimits, StepFit, StepTime
from core.errors import NotReady
from core.estimate.relative_fit import non_negative
from core.estimate.replay import replay
from core.estimate.simulator import EngineSpec

Vector = NDArray[np.float64]

FEWEST_REQUESTS = 8
OUTLIER = 0.15
"""Relative error from which on an answer counts linearly instead of squared."""
DIFFERENCES = (0.2, 0.05)
"""Steps of the numerical derivative in units of the scales, coarse to fine: the simulated
schedule changes in small jumps, which a tiny step would take for the slope."""
HICCUP = float(np.log(2))
"""How much slower or faster than the others of its load an answer may count as."""
MOST_EVALUATIONS = 40
LEAST_TIME_S = 1e-5
COEFFICIENTS = 6
PRIOR_ANSWERS = 11
"""A load's speed is drawn towards the common one as by so many more answers that show it."""


def fit_step(loads: Sequence[Observations], limits: EngineLimits) -> tuple[StepTime, StepFit]:
    """Return the step-time model that reproduces the loads best, and how well it does.

    Args:
        loads: Answers of one replica, each load from an empty server on. Together they should
            vary the requests in flight and both lengths, or the coefficients cannot be told
            apart.
        limits: The engine's own.

    Raises:
        NotReady: Too few answers to fit anything to.
    """
    known = [load for load in loads if len(load)]
    requests = sum(len(load) for load in known)
    if requests < FEWEST_REQUESTS:
        raise NotReady(
            f"{requests} answers are too few to fit a step-time model.",
            "Lengthen the levels, or look at why requests failed.",
        )
    start = _first_guess(known, limits)
    fit = _Fit([_Replay(load, limits) for load in known], _scales(start, known))
    point = np.concatenate([np.maximum(start / fit.scale, 0.05), np.zeros(len(known))])
    # From a poor start, speeds would take on what the coefficients should explain.
    point = fit.descended(point, DIFFERENCES[0], COEFFICIENTS)
    for difference in DIFFERENCES:
        point = fit.descended(point, difference, len(point))
    step, slowness = fit.step(point), fit.slowness(point)
    step = step.slowed(float(np.exp(np.mean(slowness))))
    variation = float(np.std(slowness, ddof=1)) if len(known) > 1 else 0.0
    return step, replace(goodness(known, limits, step), speed_variation=variation)


def goodness(loads: Sequence[Observations], limits: EngineLimits, step: StepTime) -> StepFit:
    """Return how well a step-time model reproduces loads, as fast as it says in all of them."""
    replays = [_Replay(load, limits) for load in loads if len(load)]
    errors = [replay.log_errors(step) for replay in replays]
    ttft = np.concatenate([ttft for ttft, _ in errors])
    e2e = np.concatenate([e2e for _, e2e in errors])
    measured = np.concatenate([np.log(replay.e2e_s) for replay in replays])
    variance = float(np.var(measured))
    return StepFit(
        requests=len(e2e),
        r_squared=1.0 - float(np.mean(e2e**2)) / variance if variance > 0 else 0.0,
        e2e_median_error=float(np.median(np.abs(np.expm1(e2e)))),
        ttft_median_error=float(np.median(np.abs(np.expm1(ttft)))),
    )


class _Replay:
    """One load, what was measured of it, and what a step-time model says."""

    def __init__(self, load: Observations, limits: EngineLimits) -> None:
        self._load = load
        self._limits = limits
        self._ttft_s = np.maximum(np.frombuffer(load.ttft_s), LEAST_TIME_S)
        self.e2e_s = np.maximum(np.frombuffer(load.e2e_s), LEAST_TIME_S)

    def log_errors(self, step: StepTime) -> tuple[Vector, Vector]:
        """Return n logarithms of predicted / measured TTFT, and n of end-to-end time."""
        seen = replay(self._load, [EngineSpec(0, 1, step, self._limits)])
        ttft_s, e2e_s = (
            np.maximum(np.nan_to_num(times, nan=LEAST_TIME_S), LEAST_TIME_S)
            for times in (seen.ttft_s, seen.e2e_s)
        )
        return np.log(ttft_s / self._ttft_s), np.log(e2e_s / self.e2e_s)

    def slowness(self, step: StepTime) -> float:
        """Return the logarithm of measured over predicted end-to-end time, averaged over time.

        Each answer tells of the time that it took: weights are the measured times. One that was
        held up far more than the others of its load says nothing about the load.
        """
        _, errors = self.log_errors(step)
        usual = float(np.median(errors))
        held_up = np.clip(usual - errors, -HICCUP, HICCUP)
        times_s = self.e2e_s * np.exp(errors - usual + held_up)
        return float(np.log(np.average(np.exp(held_up), weights=times_s))) - usual


class _Fit:
    """The least-squares problem of L loads.

    A point is six coefficients in units of their scales, then L logarithms of how much slower
    than usual the replica was in each load.
    """

    def __init__(self, replays: Sequence[_Replay], scale: Vector) -> None:
        self.scale = scale
        self._replays = replays

    def step(self, point: Vector) -> StepTime:
        """Return the usual step times."""
        return StepTime(*(float(value) for value in point[:COEFFICIENTS] * self.scale))

    def slowness(self, point: Vector) -> Vector:
        """Return per load the logarithm of how much slower than usual it was.

        What a load shows at its own speed is added to that speed, which was drawn towards the
        usual one.
        """
        speeds = point[COEFFICIENTS:]
        left: Vector = np.array(
            [
                replay.slowness(self.step(point).slowed(float(np.exp(speed))))
                for replay, speed in zip(self._replays, speeds, strict=True)
            ]
        )
        return speeds + left

    def descended(self, point: Vector, difference: float, free: int) -> Vector:
        """Return the least-squares solution that a descent of the first `free` numbers finds."""
        lowest = np.concatenate([np.zeros(COEFFICIENTS), np.full(len(self._replays), -np.inf)])
        rest = point[free:]

        def whole(some: Vector) -> Vector:
            joined: Vector = np.concatenate([some, rest])
            return joined

        found = least_squares(
            lambda some: self._residuals(whole(some)),
            point[:free],
            jac=lambda some: self._slopes(difference, whole(some), free),
            bounds=(lowest[:free], np.inf),
            loss="soft_l1",
            f_scale=OUTLIER,
            max_nfev=MOST_EVALUATIONS,
        ).x
        return whole(found)

    def _residuals(self, point: Vector) -> Vector:
        blocks = [self._block(i, point) for i in range(len(self._replays))]
        residuals: Vector = np.concatenate([*blocks, self._drawn(point)])
        return residuals

    def _block(self, number: int, point: Vector) -> Vector:
        slower = float(np.exp(point[COEFFICIENTS + number]))
        block: Vector = np.concatenate(
            self._replays[number].log_errors(self.step(point).slowed(slower))
        )
        return block

    def _drawn(self, point: Vector) -> Vector:
        drawn: Vector = PRIOR_ANSWERS**0.5 * point[COEFFICIENTS:]
        return drawn

    def _slopes(self, difference: float, point: Vector, free: int) -> Vector:
        """Return `free` columns of forward differences; a load's speed changes its own rows."""
        here = self._residuals(point)
        slopes: Vector = np.zeros((len(here), free))
        for i in range(COEFFICIENTS):
            slopes[:, i] = self._residuals(_moved(point, i, difference)) - here
        first = 0
        for number in range(free - COEFFICIENTS):
            column = COEFFICIENTS + number
            moved = self._block(number, _moved(point, column, difference))
            rows = slice(first, first + len(moved))
            slopes[rows, column] = moved - here[rows]
            slopes[number - len(self._replays), column] = PRIOR_ANSWERS**0.5 * difference
            first += len(moved)
        slopes /= difference
        return slopes


def _moved(point: Vector, position: int, by: float) -> Vector:
    moved = point.copy()
    moved[position] += by
    return moved


def _first_guess(loads: Sequence[Observations], limits: EngineLimits) -> Vector:
    """Return six coefficients from a linear model of mean-value arithmetic.

    Decoding n tokens beside N - 1 others takes about n (fixed + N sequence + N length context);
    a prompt of p tokens alone takes fixed + sequence + p prefill until its first token.
    """
    rows, times = [], []
    for load in loads:
        sent, e2e = np.frombuffer(load.sent_at_s), np.frombuffer(load.e2e_s)
        ttft = np.frombuffer(load.ttft_s)
        inputs = np.frombuffer(load.input_tokens, dtype=np.int64)
        outputs = np.frombuffer(load.output_tokens, dtype=np.int64)
        span_s = max(float(np.max(sent + e2e) - np.min(sent)), LEAST_TIME_S)
        held = min(max(float(e2e.sum()) / span_s, 1.0), float(limits.max_num_seqs))
        length = float(np.mean(inputs + outputs / 2))
        further = float(np.mean(outputs - 1))
        if further > 0:
            beside = (held - 1) * float(inputs.mean())
            rows.append([further, further * held, further * held * length, beside])
            times.append(float(np.mean(e2e - ttft)))
        if held < 2:
            rows.append([1.0, 1.0, 0.0, float(inputs.mean())])
            times.append(float(np.mean(ttft)))
    found = non_negative(np.array(rows), np.maximum(times, LEAST_TIME_S))
    return np.array([*found, 0.0, 0.0])


def _scales(start: Vector, loads: Sequence[Observations]) -> Vector:
    """Return the size of change of each coefficient that matters about equally."""
    lengths = np.concatenate([np.frombuffer(load.input_tokens, dtype=np.int64) for load in loads])
    token_s = max(float(start[0] + start[1]), LEAST_TIME_S)
    mean_input = max(float(lengths.mean()), 1.0)
    return np.array(
        [
            token_s,
            token_s / 10,
            token_s / (10 * mean_input),
            max(float(start[3]), token_s / (10 * mean_input)),
            token_s,
            token_s,
        ]
    )
