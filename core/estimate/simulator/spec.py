"""What a simulation is given, and what it returns."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from core.domain.profile import EngineLimits, StepTime
from core.errors import InvalidInput

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
NOBODY = -1


@dataclass(frozen=True)
class EngineSpec:
    """One replica: a vLLM server of one model.

    Attributes:
        pool: Number of its model; requests of a pool go to replicas of that pool only.
        devices: Devices it holds; dispatch counts outstanding requests per device.
        step: How long a step takes; no part of it is negative.
        limits: Batch and cache limits; as in vLLM, a step has a token for every sequence.

    Raises:
        InvalidInput: No engine has such limits or such a step time.
    """

    pool: int
    devices: int
    step: StepTime
    limits: EngineLimits

    def __post_init__(self) -> None:
        step, limits = self.step, self.limits
        per_step_s = (step.fixed_s, step.per_sequence_s, step.per_context_token_s)
        per_request_s = (step.per_prefill_token_s, step.per_request_s, step.overhead_s)
        parts_s = per_step_s + per_request_s
        if not (min(parts_s) >= 0 and sum(parts_s) < math.inf):
            raise InvalidInput(f"No step takes {step}.", "Profile the replica again.")
        if not (
            self.devices >= 1
            and limits.block_size >= 1
            and limits.kv_blocks >= 0
            and 1 <= limits.max_num_seqs <= limits.max_num_batched_tokens
        ):
            raise InvalidInput(
                f"No engine on {self.devices} devices has the limits {limits}.",
                "max_num_batched_tokens must be at least max_num_seqs, both at least 1.",
            )


@dataclass(frozen=True)
class Arrivals:
    """n calls, those that arrive by themselves in order of arrival.

    Attributes:
        arrived_at_s: n; never falling; of a call that follows another one not looked at.
        input_tokens: n; prompt lengths, at least 1.
        output_tokens: n; answer lengths, at least 1.
        pool: n; the model each call goes to.
        cached_tokens: n; leading prompt tokens found in the prefix cache: a multiple of the
            block size, less than `input_tokens`. They cost neither time nor blocks of their own.
        after: n; the call at whose answer this one is made: one that arrives by itself and is
            followed by no other; -1 for a call that arrives by itself. None: all do.

    Raises:
        InvalidInput: Columns differ in length, or values are out of range.
    """

    arrived_at_s: Floats
    input_tokens: Integers
    output_tokens: Integers
    pool: Integers
    cached_tokens: Integers
    after: Integers | None = None

    def __post_init__(self) -> None:
        columns = (self.input_tokens, self.output_tokens, self.pool, self.cached_tokens)
        preceding = self.preceding
        if any(len(column) != len(self) for column in (*columns, preceding)):
            raise InvalidInput("The columns of the arrivals differ in length.")
        own_s = self.arrived_at_s[preceding == NOBODY]
        if len(self) and (
            not np.all(np.isfinite(own_s))
            or np.any(np.diff(own_s) < 0)
            or self.input_tokens.min() < 1
            or self.output_tokens.min() < 1
            or self.cached_tokens.min() < 0
            or np.any(self.cached_tokens >= self.input_tokens)
        ):
            raise InvalidInput(
                "Arrivals must be in order, with prompts and answers of at least one token.",
                "Sort the trace by arrival time; leave out requests that failed.",
            )
        _require_order(preceding)

    def __len__(self) -> int:
        return len(self.arrived_at_s)

    @property
    def preceding(self) -> Integers:
        """n; `after`, whether given or not."""
        if self.after is not None:
            return self.after
        return np.full(len(self), NOBODY, dtype=np.int64)


def _require_order(preceding: Integers) -> None:
    known = preceding[preceding != NOBODY]
    if len(known) and (
        known.min() < 0
        or known.max() >= len(preceding)
        or np.any(preceding[known] != NOBODY)
        or len(np.unique(known)) < len(known)
    ):
        raise InvalidInput("A call follows one other call at most, which follows none.")


@dataclass(frozen=True)
class Timeline:
    """What happened to n calls.

    Attributes:
        ttft_s: n; arrival to first token; NaN for one that no replica can ever hold, and for one
            that should have followed it.
        e2e_s: n; arrival to last token; NaN likewise.
        replica: n; position of the replica that answered; -1 when its pool has none, or when the
            call was never made.
        preemptions: n; times it lost its cache and was computed again.
    """

    ttft_s: Floats
    e2e_s: Floats
    replica: Integers
    preemptions: Integers
