"""Step times from data sheets: what must be read, computed and sent, over what the device can do.

The roofline model (Williams et al., CACM 2009) for a transformer that batches continuously. A step
that computes some tokens costs, per device,

* memory: every weight of its layers once, of a mixture of experts those its tokens touch;
* compute: two operations per weight and token, and those of attention over a prompt;
* attention: reading the cached keys and values of every decoding sequence;
* communication: two all-reduces per layer among the tensor-parallel ranks (Megatron-LM,
  arXiv 1909.08053), and one transfer per pipeline stage;
* host: launching kernels, and scheduling and sampling per sequence.

Peaks are multiplied by the fraction that well-made kernels reach. The causes are kept apart,
because calibration corrects each by its own factor: see `core.estimate.calibration`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from core.domain.profile import EngineLimits, StepTime
from core.errors import InvalidInput
from core.estimate.architecture import ModelShape
from core.estimate.hardware import SkuFacts
from core.estimate.relative_fit import non_negative

BANDWIDTH_EFFICIENCY = 0.85
"""Of the advertised memory bandwidth, when matrices are streamed."""
ATTENTION_EFFICIENCY = 0.60
"""The same when paged keys and values are gathered."""
COMPUTE_EFFICIENCY = 0.60
"""Of dense peak throughput, in the matrices of a prompt of a few hundred tokens."""
LINK_EFFICIENCY = 0.70
"""Of the advertised link bandwidth, in an all-reduce."""
STEP_HOST_S = 2e-3
"""Scheduling, input preparation and sampling of one step; Python of vLLM, any batch."""
LAYER_HOST_S = 15e-6
"""Gaps between the kernels of a layer replayed from a CUDA graph."""
SEQUENCE_HOST_S = 20e-6
"""Scheduling, sampling and detokenising one sequence for one step."""
ALL_REDUCE_S = 15e-6
"""Least time of an all-reduce among the ranks of a node."""
STAGE_TRANSFER_S = 50e-6
"""Least time of handing activations to the next pipeline stage."""
MEMORY_SHARE = 0.90
"""vLLM's default `--gpu-memory-utilization`."""
RESERVED_BYTES = 2 * 2**30
"""Per device: CUDA context, CUDA graphs, activations of the largest step."""
BLOCK_SIZE = 16


class StepCost(NamedTuple):
    """Seconds by cause; of one step, or summed over several."""

    host_s: float
    sequence_s: float
    memory_s: float
    compute_s: float
    attention_s: float
    communication_s: float

    def times(self, factor: float) -> "StepCost":
        """Return that many of it."""
        return StepCost(*(factor * part for part in self))

    def plus(self, other: "StepCost") -> "StepCost":
        """Return both, one after the other."""
        return StepCost(*(a + b for a, b in zip(self, other, strict=True)))


@dataclass(frozen=True, slots=True)
class Load:
    """What one step computes.

    Attributes:
        decoding: Sequences that get their next token.
        context_tokens: Tokens in the cache of all of them together.
        prompts: Prompts that begin.
        prompt_tokens: Their tokens together.
    """

    decoding: float = 0.0
    context_tokens: float = 0.0
    prompts: float = 0.0
    prompt_tokens: float = 0.0


@dataclass(frozen=True, slots=True)
class Placed:
    """A model laid over devices: tensor-parallel ranks inside a node, pipeline stages in a row.

    Raises:
        InvalidInput: TP or PP is not possible for the model.
    """

    shape: ModelShape
    sku: SkuFacts
    tp: int = 1
    pp: int = 1

    def __post_init__(self) -> None:
        if self.tp < 1 or self.pp < 1 or self.shape.heads % self.tp or self.pp > self.shape.layers:
            raise InvalidInput(
                f"A model of {self.shape.heads} heads and {self.shape.layers} layers cannot run "
                f"at TP {self.tp}, PP {self.pp}.",
                "TP must divide the number of attention heads; PP is at most that of layers.",
            )

    @property
    def kv_bytes_per_token(self) -> float:
        """Bytes of cache one token takes on the fullest device."""
        kept = 1 if self.shape.latent else min(self.tp, self.shape.kv_heads)
        return self.shape.kv_bytes_per_token / kept / self.pp

    @property
    def kv_tokens(self) -> int:
        """Tokens the cache holds beside the weights; negative when the weights do not fit."""
        weights = self.shape.weight_bytes / (self.tp * self.pp)
        free = self.sku.memory_bytes * MEMORY_SHARE - RESERVED_BYTES - weights
        return math.floor(free / self.kv_bytes_per_token)

    def cost(self, load: Load) -> StepCost:
        """Return what one step takes, by cause."""
        shape, tokens = self.shape, load.decoding + load.prompt_tokens
        sequences = load.decoding + load.prompts
        # Each pipeline stage works on its share of the sequences while the others work on theirs:
        # a token waits for all stages, but only beside the sequences of its own share.
        shared = 1 / self.pp
        prompt_shared = (2 * self.pp - 1) / self.pp**2
        return StepCost(
            host_s=STEP_HOST_S + shape.layers * LAYER_HOST_S,
            sequence_s=SEQUENCE_HOST_S * sequences * shared,
            memory_s=self._memory_s(tokens),
            compute_s=self._compute_s(load.decoding * shared, load.prompts * shared)
            + self._prompt_s(load) * prompt_shared,
            attention_s=load.context_tokens * shape.kv_bytes_per_token * shared / self._kv_rate,
            communication_s=self._communication_s(load, tokens * shared),
        )

    @property
    def _kv_rate(self) -> float:
        kept = 1 if self.shape.latent else min(self.tp, self.shape.kv_heads)
        return kept * self.sku.bandwidth_bytes_per_s * ATTENTION_EFFICIENCY

    @property
    def _flops(self) -> float:
        fp8 = self.sku.dense_fp8_flops if self.shape.fp8_compute else None
        return self.tp * (fp8 or self.sku.dense_fp16_flops) * COMPUTE_EFFICIENCY

    def _memory_s(self, tokens: float) -> float:
        """Weights read once. Of E experts, n tokens with k each touch E (1 - (1 - k/E)^n)."""
        shape = self.shape
        read = float(shape.block_parameters)
        if shape.experts:
            idle = (1 - shape.experts_per_token / shape.experts) ** max(tokens, 1.0)
            read += shape.moe_layers * shape.experts * (1 - idle) * shape.expert_parameters
        read *= shape.weight_bytes_per_parameter
        read += shape.embedding_parameters * shape.full_bytes_per_parameter
        return read / (self.tp * self.sku.bandwidth_bytes_per_s * BANDWIDTH_EFFICIENCY)

    @property
    def _operations_per_token(self) -> float:
        shape = self.shape
        visited = shape.moe_layers * shape.experts_per_token * shape.expert_parameters
        return 2.0 * (shape.block_parameters + visited)

    def _compute_s(self, decoding: float, prompts: float) -> float:
        """Blocks for decoding tokens; the output embedding for everyone who gets a token."""
        head = 2.0 * self.shape.embedding_parameters * (decoding + prompts)
        return (self._operations_per_token * decoding + head) / self._flops

    def _prompt_s(self, load: Load) -> float:
        """Blocks for prompt tokens, and causal attention: half of p^2 pairs, four operations each
        per head dimension."""
        if not load.prompt_tokens:
            return 0.0
        length = load.prompt_tokens / max(load.prompts, 1.0)
        width = self.shape.layers * self.shape.heads * self.shape.head_dim
        attention = 4.0 * width * load.prompt_tokens * length / 2
        return (self._operations_per_token * load.prompt_tokens + attention) / self._flops

    def _communication_s(self, load: Load, tokens: float) -> float:
        activations = tokens * self.shape.hidden * self.shape.full_bytes_per_parameter
        link = self.sku.interconnect_bytes_per_s * LINK_EFFICIENCY
        stages = (self.pp - 1) * (STAGE_TRANSFER_S + activations / link)
        if self.tp == 1:
            return stages
        ring = 2 * (self.tp - 1) / self.tp * activations / link
        return 2 * self.shape.layers * (ALL_REDUCE_S + ring) + stages


Costs = Callable[[Load], StepCost]
"""What a step takes, by cause: a roofline's, or another estimator's put in the same terms."""
Factors = Callable[[float], StepCost]
"""By what the seconds of each cause are multiplied when so many sequences run."""


def uncorrected(_: float) -> StepCost:
    """Return factors that change nothing."""
    return StepCost(1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


def roofline_step(
    costs: Costs, max_num_seqs: int, prompt_tokens: int, factors: Factors = uncorrected
) -> StepTime:
    """Return the linear step-time model that is closest to what steps cost.

    The cost is linear in context and prompt tokens but for attention over the prompt itself, which
    is taken at `prompt_tokens`. Over the sequences it bends where more experts are touched: there
    the line of least relative error over 1, 2, 4, ... sequences stands for it.

    Args:
        factors: Corrections of a calibration.
    """

    def step_s(load: Load) -> float:
        sequences = load.decoding + load.prompts
        parts = zip(costs(load), factors(max(sequences, 1.0)), strict=True)
        return sum(part * factor for part, factor in parts)

    ladder = [2**k for k in range(max(max_num_seqs, 2).bit_length())]
    times_s = np.array([step_s(Load(decoding=n)) for n in ladder])
    rows = np.array([[1.0, float(n)] for n in ladder])
    fixed_s, per_sequence_s = non_negative(rows, times_s)
    middle = Load(decoding=ladder[len(ladder) // 2])
    with_context = Load(middle.decoding, context_tokens=middle.decoding * prompt_tokens)
    context_s = (step_s(with_context) - step_s(middle)) / with_context.context_tokens
    one = Load(prompts=1, prompt_tokens=1)
    prompt = Load(prompts=1, prompt_tokens=prompt_tokens)
    # What a prompt adds to a step that runs anyway: less than a token's worth of weights is not
    # counted again, all experts it touches are, once.
    begins_s = max(0.0, _memory(costs, factors, prompt) - _memory(costs, factors, one))
    prefill_s = max(0.0, step_s(prompt) - step_s(one) - begins_s) / max(prompt_tokens - 1, 1)
    return StepTime(
        fixed_s=float(fixed_s),
        per_sequence_s=float(per_sequence_s),
        per_context_token_s=max(0.0, context_s),
        per_prefill_token_s=prefill_s,
        per_request_s=begins_s,
    )


def _memory(costs: Costs, factors: Factors, load: Load) -> float:
    return costs(load).memory_s * factors(1.0).memory_s


def engine_limits(placed: Placed, max_num_seqs: int, max_num_batched_tokens: int) -> EngineLimits:
    """Return the batch limits and the cache that memory leaves beside the weights."""
    return EngineLimits(
        max_num_seqs, max_num_batched_tokens, max(placed.kv_tokens, 0) // BLOCK_SIZE, BLOCK_SIZE
    )


def batch_cost(placed: Placed, batch: int, prompt: int, answer: int) -> tuple[StepCost, StepCost]:
    """Return prefill and decoding of a batch of equal requests that are sent at once.

    The cache may not hold the batch: then only so many run beside each other as fit at their mean
    length, and those put off are computed again when their turn comes.
    """
    mean_length = prompt + answer / 2
    beside = min(batch, max(1.0, placed.kv_tokens / mean_length))
    prefill = placed.cost(Load(prompts=batch, prompt_tokens=batch * prompt))
    again = max(0.0, batch - max(1.0, placed.kv_tokens / (prompt + answer)))
    if again:
        recomputed = placed.cost(Load(prompts=again, prompt_tokens=again * mean_length))
        prefill = prefill.plus(recomputed)
    decoding = placed.cost(Load(decoding=beside, context_tokens=beside * mean_length))
    return prefill, decoding.times((answer - 1) * batch / beside)
