"""How fast Llama 3.1 8B and 70B run on rented GPUs: step-time models of aiconfigurator's table.

The table (PyPI `aiconfigurator` 0.12.0, Apache-2.0) predicts vLLM under N requests in flight with
I prompt and O answer tokens each, prompts processed C tokens per step beside what decodes. Of the
O steps of an answer, u = ceil(N I / C) process prompts; its token time is their mean,

    w = max(1, u - 3) / (max(1, u - 3) + O - u)      share of steps with prompts, 1 if u >= O
    TPOT = fixed + per_sequence S + per_context_token D (I + O / 2) + per_prefill_token w C

with S sequences and D decoding ones in a mean step; alone on the replica (N = 1) w = 0. That is
linear in the coefficients of `StepTime`, which are fitted in least relative error. The table's
times to first token are not fitted: they contain a queueing allowance that grows with N, and the
simulator plays queues out itself.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from core.domain.plan import ReplicaKind
from core.domain.profile import Profile, Provenance, StepTime
from core.entrypoints.bench.headline_data import Row, rows_of
from core.entrypoints.bench.published import AICONFIGURATOR, SHAPES
from core.estimate.hardware import sku_facts
from core.estimate.relative_fit import non_negative
from core.estimate.roofline import Placed, engine_limits
from core.estimate.speed import Vector

SMALL, LARGE = "Llama-3.1-8B", "Llama-3.1-70B"
MODELS = {
    "meta-llama/Meta-Llama-3.1-8B": (SMALL, "meta-llama/Meta-Llama-3-8B"),
    "meta-llama/Meta-Llama-3.1-70B": (LARGE, "meta-llama/Meta-Llama-3-70B"),
}
"""The table's names, with ours and the shape; Llama 3 and 3.1 have one shape."""
SYSTEMS = {
    "l40s": "L40S",
    "a100_sxm": "A100-SXM-80GB",
    "h100_sxm": "H100-SXM-80GB",
    "h200_sxm": "H200-SXM-141GB",
    "b200_sxm": "B200-SXM-180GB",
}
MAX_NUM_SEQS = 256
BATCHED_TOKENS = 2048
"""The table's largest batch, and the tokens per step of most of its rows."""
LEFT_OUT_STEPS = 3
"""The table leaves the first steps with prompts out of the token time."""
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Speed:
    """A profile, and how well its step-time model reproduces the table.

    Attributes:
        rows: Rows of the table it was fitted to.
        median_error: Median of |fitted / table - 1| over their token times.
        p90_error: The 90th percentile of the same.
    """

    profile: Profile
    rows: int
    median_error: float
    p90_error: float


def speeds(folder: Path) -> dict[ReplicaKind, Speed]:
    """Return the speed of every (model, GPU, TP) in the table, rows out of memory left out.

    Raises:
        NotFound: The table is not in the folder.
    """
    groups: Mapping[ReplicaKind, list[Row]] = defaultdict(list)
    for row in rows_of(folder / AICONFIGURATOR):
        if row["model"] in MODELS and row["system"] in SYSTEMS and row["kv_cache_oom"] == "0":
            model = MODELS[row["model"]][0]
            groups[ReplicaKind(model, SYSTEMS[row["system"]], int(row["tp"]))].append(row)
    return {kind: _speed(kind, rows) for kind, rows in sorted(groups.items())}


def _speed(kind: ReplicaKind, rows: Sequence[Row]) -> Speed:
    table = [
        _Load(*(float(row[c]) for c in ("batch_size", "isl", "osl", "ctx_tokens"))) for row in rows
    ]
    design = np.array([load.design() for load in table])
    tpot_s = np.array([float(row["tpot_ms"]) / 1000 for row in rows])
    coefficients = non_negative(design, tpot_s)
    errors = np.abs(design @ coefficients / tpot_s - 1)
    step = StepTime(*map(float, coefficients))
    return Speed(
        _profile(kind, step),
        len(rows),
        float(np.median(errors)),
        float(np.quantile(errors, 0.9)),
    )


@dataclass(frozen=True, slots=True)
class _Load:
    """One row's load: N requests of I prompt and O answer tokens, C prompt tokens per step."""

    held: float
    inputs: float
    outputs: float
    chunk: float

    def design(self) -> Vector:
        """Return what a mean step counts of each coefficient."""
        share, beside = self._steps_with_prompts()
        decoding = (1 - share) * self.held + share * beside
        beginning = share * min(self.chunk / self.inputs, self.held)
        context = decoding * (self.inputs + self.outputs / 2)
        return np.array([1.0, decoding + beginning, context, share * self.chunk])

    def _steps_with_prompts(self) -> tuple[float, float]:
        """Return their share of a request's steps, and how many requests decode in them."""
        if self.held == 1:
            return 0.0, 0.0
        steps = math.ceil(self.inputs * self.held / self.chunk)
        if steps >= self.outputs:
            return 1.0, max(1.0, self.held * self.outputs / steps)
        counted = max(1, steps - LEFT_OUT_STEPS)
        beside = max(0.0, self.held - math.ceil(self.chunk / self.inputs))
        return counted / (counted + self.outputs - steps), beside


def _profile(kind: ReplicaKind, step: StepTime) -> Profile:
    shape = next(SHAPES[of] for name, of in MODELS.values() if name == kind.model)
    placed = Placed(shape, sku_facts(kind.sku), kind.tp)
    return Profile(
        profile_id=kind.label,
        model=kind.model,
        sku=kind.sku,
        tp=kind.tp,
        pp=1,
        provenance=Provenance.PREDICTED,
        measured_at=NOW,
        engine="aiconfigurator 0.12.0",
        host="published table",
        startup_s=0.0,
        levels=(),
        step=step,
        engine_limits=engine_limits(placed, MAX_NUM_SEQS, BATCHED_TOKENS),
        # Every contender meets the same table: here it is the truth, and intervals are sampling's.
        relative_error=0.0,
    )
