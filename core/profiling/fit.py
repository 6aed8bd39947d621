"""Fits a step-time model to what load levels saw, by replaying them in the simulator.

A request's latency depends on what else ran beside it, so no formula gives the coefficients from
single answers. The simulator does: each load is replayed with the times at which its requests
were really sent, and the coefficients are those with which the simulated times to first token and
end-to-end times come closest to the measured ones: non-negative least squares on logarithms with
a soft-L1 loss, so that an answer which met a hiccup of the machine counts less.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from core.domain.observation import Observations
from core.domain.profile import EngineLimits, StepFit, StepTime
from core.errors import NotReady
from core.estimate.relative_fit import non_negative
from core.estimate.replay import replay

Vector = NDArray[np.float64]

FEWEST_REQUESTS = 8
OUTLIER = 0.15
"""Relative error from which on an answer counts linearly instead of squared."""
DIFFERENCES = (0.2, 0.05)
"""Steps of the numerical derivative in units of the scales, coarse to fine: the simulated
schedule changes in small jumps, which a tiny step would take for the slope."""
MOST_EVALUATIONS = 40
LEAST_TIME_S = 1e-5


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
    replays = [_Replay(load, limits) for load in known]
    start = _first_guess(known, limits)
    scale = _scales(start, known)
    residuals = partial(_residuals, replays, scale)
    scaled = np.maximum(start / scale, 0.05)
    for difference in DIFFERENCES:
        scaled = _descend(residuals, scaled, difference)
    step = StepTime(*(float(value) for value in scaled * scale))
    return step, goodness(known, limits, step)


def goodness(loads: Sequence[Observations], limits: EngineLimits, step: StepTime) -> StepFit:
    """Return how well a step-time model reproduces loads."""
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
        seen = replay(self._load, step, self._limits)
        ttft_s, e2e_s = (
            np.maximum(np.nan_to_num(times, nan=LEAST_TIME_S), LEAST_TIME_S)
            for times in (seen.ttft_s, seen.e2e_s)
        )
        return np.log(ttft_s / self._ttft_s), np.log(e2e_s / self.e2e_s)


def _residuals(replays: Sequence[_Replay], scale: Vector, scaled: Vector) -> Vector:
    step = StepTime(*(scaled * scale))
    both = [np.concatenate(replay.log_errors(step)) for replay in replays]
    errors: Vector = np.concatenate(both)
    return errors


def _descend(residuals: "partial[Vector]", scaled: Vector, difference: float) -> Vector:
    """Return the least-squares solution that a descent from here finds."""
    found: Vector = least_squares(
        residuals,
        scaled,
        jac=partial(_slopes, residuals, difference),
        bounds=(0.0, np.inf),
        loss="soft_l1",
        f_scale=OUTLIER,
        max_nfev=MOST_EVALUATIONS,
    ).x
    return found


def _slopes(residuals: "partial[Vector]", difference: float, scaled: Vector) -> Vector:
    """Return the m x 6 matrix of forward differences."""
    here = residuals(scaled)
    moved = [residuals(scaled + difference * unit) for unit in np.eye(len(scaled))]
    slopes: Vector = np.stack([(there - here) / difference for there in moved], axis=1)
    return slopes


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
