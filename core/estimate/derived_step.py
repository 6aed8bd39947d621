"""A step-time model read off load levels, for profiles that came without one.

Mean-value arithmetic of a closed loop: N requests of I prompt and O answer tokens in flight, all
but one beside any request. With s(N) = fixed + N per_sequence + N (I + O / 2) per_context_token,

    (O - 1) TPOT = (O - 1) s(N) + (N - 1) I per_prefill_token
    TTFT         = a s(N) + I per_prefill_token,   a = 1 for N = 1, else 1.5

because each neighbour's prompt is processed once while a request decodes, and a request that finds
others at work waits half a step before its own begins. The model is linear in its coefficients.
"""

from collections.abc import Sequence

import numpy as np

from core.domain.profile import LoadLevel, Profile, StepTime
from core.errors import NotReady
from core.estimate.relative_fit import non_negative
from core.estimate.speed import Vector

LEAST_TIME_S = 1e-6
FIXED, SEQUENCE, CONTEXT, PREFILL = range(4)


def derived_step(profile: Profile, max_num_seqs: int) -> StepTime:
    """Return the non-negative least-squares fit of relative errors; Lawson & Hanson 1974.

    One length of prompts and answers cannot tell a sequence from its context: then all of the
    growth with N is given to the sequences.

    Args:
        profile: Its levels' mean TTFT and TPOT are fitted.
        max_num_seqs: Levels beyond it measured a queue, not the engine; they are left out where
            others are left.

    Raises:
        NotReady: No level counted a request.
    """
    counted = [level for level in profile.levels if level.requests > 0]
    levels = [level for level in counted if level.concurrency <= max_num_seqs] or counted
    if not levels:
        raise NotReady(
            f"The profile of {profile.model} on {profile.sku} has no load level.",
            "Profile it on Models & profiling, or give a step-time model.",
        )
    rows, times_s = _equations(levels)
    used = [FIXED, SEQUENCE, PREFILL] if _one_length(levels) else [*range(4)]
    coefficients = np.zeros(4)
    coefficients[used] = non_negative(rows[:, used], times_s)
    return StepTime(*map(float, coefficients))


def _equations(levels: Sequence[LoadLevel]) -> tuple[Vector, Vector]:
    """Return the design matrix, 2 J x 4 or less, and the times in seconds."""
    rows, times_s = [], []
    for level in levels:
        inputs, further = level.input_tokens_mean, level.output_tokens_mean - 1
        if further > 0:
            beside = (level.concurrency - 1) * inputs
            rows.append(further * _decoding(level) + np.array([0, 0, 0, beside]))
            times_s.append(further * level.tpot_ms.mean / 1000)
        waited = 1.0 if level.concurrency == 1 else 1.5
        rows.append(waited * _decoding(level) + np.array([0, 0, 0, inputs]))
        times_s.append(level.ttft_ms.mean / 1000)
    return np.array(rows), np.maximum(times_s, LEAST_TIME_S)


def _decoding(level: LoadLevel) -> Vector:
    """Return what one decoding step counts of each coefficient."""
    held = float(level.concurrency)
    context = held * (level.input_tokens_mean + level.output_tokens_mean / 2)
    return np.array([1.0, held, context, 0.0])


def _one_length(levels: Sequence[LoadLevel]) -> bool:
    lengths = [level.input_tokens_mean + level.output_tokens_mean / 2 for level in levels]
    return max(lengths) < 1.2 * min(lengths)
