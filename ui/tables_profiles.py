"""Frames about profiles: levels, what the fitted model says to them, its step times in words."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from core.domain.profile import LoadLevel, Profile, StepTime
from core.estimate.closed_loop import closed_loop_prediction
from core.services.profiles import Residual
from ui.tables import GIB, profile_name

POINTS = 24
STEP_TIMES = {
    "fixed_s": ("Every step", 1),
    "per_sequence_s": ("for each sequence in it", 1),
    "per_prefill_token_s": ("for each prompt token it processes", 1),
    "per_context_token_s": ("for every 1,000 tokens of context it reads", 1000),
    "per_request_s": ("for each request that begins", 1),
    "overhead_s": ("Outside the engine, each request", 1),
}
"""Field of `StepTime` -> what takes that time, and of how many it is told."""


def levels_frame(profiles: Sequence[Profile]) -> pd.DataFrame:
    """Return one row per load level of each profile."""
    return pd.DataFrame(
        {
            "profile": profile_name(profile),
            "provenance": profile.provenance.value,
            "load": _load(level),
            "opened": level.rate_rps is not None,
            "concurrency": level.concurrency,
            "rate_rps": level.rate_rps,
            "requests_per_s": level.requests_per_s,
            "output_tokens_per_s": level.output_tokens_per_s,
            "half_width_percent": None if level.half_width is None else 100 * level.half_width,
            "ttft_mean_ms": level.ttft_ms.mean,
            "ttft_p50_ms": level.ttft_ms.p50,
            "ttft_p95_ms": level.ttft_ms.p95,
            "tpot_mean_ms": level.tpot_ms.mean,
            "tpot_p50_ms": level.tpot_ms.p50,
            "tpot_p95_ms": level.tpot_ms.p95,
            "e2e_mean_ms": level.e2e_ms.mean,
            "e2e_p50_ms": level.e2e_ms.p50,
            "e2e_p95_ms": level.e2e_ms.p95,
            "e2e_p99_ms": level.e2e_ms.p99,
            "requests": level.requests,
            "errors": level.errors,
            "memory_gib": level.memory_bytes / GIB,
        }
        for profile in profiles
        for level in profile.levels
    )


def predicted_frame(profiles: Sequence[Profile]) -> pd.DataFrame:
    """Return the fitted model's mean values from one request in flight to the most measured.

    Prompts and answers are as long as in the closed-loop levels, on average over requests.
    """
    rows = [row for profile in profiles for row in _predictions(profile)]
    return pd.DataFrame(rows)


def step_times_frame(step: StepTime) -> pd.DataFrame:
    """Return a step-time model in words and milliseconds; what takes no time is left out."""
    told = ((*words, getattr(step, name)) for name, words in STEP_TIMES.items())
    return pd.DataFrame(
        {"what": what, "takes_ms": 1000 * many * seconds}
        for what, many, seconds in told
        if seconds > 0
    )


def residuals_frame(answers: Sequence[Residual]) -> pd.DataFrame:
    """Return one row per measured answer with the relative error of its prediction."""
    return pd.DataFrame(
        {
            "load": a.load.replace(":", " ").replace("-", " "),
            "measured_s": a.measured_e2e_s,
            "error": a.predicted_e2e_s / a.measured_e2e_s - 1,
            "input_tokens": a.input_tokens,
            "output_tokens": a.output_tokens,
        }
        for a in answers
    )


def _load(level: LoadLevel) -> str:
    if level.rate_rps is not None:
        return f"{level.rate_rps:.2f} arrivals/s"
    return f"{level.concurrency} in flight"


def _predictions(profile: Profile) -> list[dict[str, object]]:
    closed = [level for level in profile.levels if level.rate_rps is None]
    if profile.step is None or profile.engine_limits is None or not closed:
        return []
    requests = [level.requests for level in closed]
    prompt = float(np.average([level.input_tokens_mean for level in closed], weights=requests))
    answer = float(np.average([level.output_tokens_mean for level in closed], weights=requests))
    rows: list[dict[str, object]] = []
    for concurrency in np.geomspace(1, max(level.concurrency for level in closed), POINTS):
        found = closed_loop_prediction(
            profile.step, profile.engine_limits, prompt, answer, float(concurrency)
        )
        rows.append(
            {
                "profile": profile_name(profile),
                "concurrency": float(concurrency),
                "output_tokens_per_s": found.throughput_rps * answer,
                "ttft_mean_ms": 1000 * found.ttft_s,
                "tpot_mean_ms": 1000 * found.tpot_s,
                "e2e_mean_ms": 1000 * found.e2e_s,
            }
        )
    return rows
