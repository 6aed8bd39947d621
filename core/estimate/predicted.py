"""Profiles of what was not measured, and what measured ones teach about them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from core.domain.profile import LoadLevel, Profile, Provenance, StepTime
from core.domain.workload import ClassTraffic, Workload
from core.errors import InvalidInput
from core.estimate.architecture import ModelShape
from core.estimate.calibration import Calibration, Measured
from core.estimate.derived_levels import derived_levels
from core.estimate.effects import Case
from core.estimate.hardware import SkuFacts
from core.estimate.roofline import (
    MEMORY_SHARE,
    Costs,
    Load,
    Placed,
    StepCost,
    engine_limits,
    roofline_step,
)

ENGINE = "vllm"
ROOFLINE = "roofline"
MAX_NUM_BATCHED_TOKENS = 8192
PROMPT_TOKENS, ANSWER_TOKENS = 512, 128
USUAL_BATCH = 16


def impossible_reason(placed: Placed, max_model_len: int) -> str | None:
    """Return why a model cannot run there, in words; None when it can."""
    room = placed.kv_tokens
    if room >= max_model_len:
        return None
    devices = placed.tp * placed.pp
    weights = placed.shape.weight_bytes / 2**30
    memory = devices * placed.sku.memory_bytes / 2**30
    needs = f"its weights take {weights:.1f} GiB of {memory:.0f} GiB on {devices} device(s)"
    if room <= 0:
        return f"It does not fit on {placed.sku.name}: {needs}, and the cache needs room too."
    return (
        f"One sequence of {max_model_len} tokens does not fit on {placed.sku.name}: {needs}, "
        f"which leaves a cache of {room} tokens."
    )


def predicted_profile(
    model: str,
    placed: Placed,
    now: datetime,
    profile_id: str,
    *,
    max_num_seqs: int,
    max_model_len: int,
    calibration: Calibration | None = None,
    costs: Costs | None = None,
    engine: str = ROOFLINE,
    prompt_tokens: int = PROMPT_TOKENS,
    answer_tokens: int = ANSWER_TOKENS,
) -> Profile:
    """Return a profile of a model on devices that nobody measured.

    Args:
        model: Name of the model: profiles of the same one teach more about it.
        calibration: What measured profiles taught; without one, the roofline as it is.
        costs: Another estimator than the roofline of `placed`.
        engine: Name of the estimator, shown as the profile's engine.
        prompt_tokens: Length of the prompts that the levels pretend.
        answer_tokens: Length of the answers.

    Raises:
        InvalidInput: It does not fit.
    """
    reason = impossible_reason(placed, max_model_len)
    if reason:
        raise InvalidInput(
            f"{model}: {reason}",
            "Use more devices (TP or PP), a larger one, or a shorter maximum length.",
        )
    known, step_costs = calibration or Calibration(), costs or placed.cost
    limits = engine_limits(placed, max_num_seqs, MAX_NUM_BATCHED_TOKENS)
    step = roofline_step(
        step_costs, max_num_seqs, prompt_tokens, _factors(known, model, placed, step_costs)
    )
    traffic = ClassTraffic("all", 1.0, prompt_tokens, answer_tokens)
    workload = Workload("levels", "levels", (traffic,), Provenance.PREDICTED, now)
    memory = int(placed.sku.memory_bytes * MEMORY_SHARE) * placed.tp * placed.pp
    levels = derived_levels(step, limits, workload)
    return Profile(
        profile_id=profile_id,
        model=model,
        sku=placed.sku.name,
        tp=placed.tp,
        pp=placed.pp,
        provenance=Provenance.PREDICTED,
        measured_at=now,
        engine=engine,
        host="data sheet",
        startup_s=0.0,
        levels=tuple(replace(level, memory_bytes=memory) for level in levels),
        step=step,
        engine_limits=limits,
        relative_error=_sigma(known, model, placed, step_costs, max_num_seqs),
    )


def measured_points(
    profile: Profile, shape: ModelShape, sku: SkuFacts, costs: Costs | None = None
) -> list[Measured]:
    """Return what a profile's closed loops teach: token times, and TTFT without a queue.

    Among N requests in flight N - 1 prompts are processed while one is answered; they are counted
    to the token time.

    Args:
        costs: The estimator to be calibrated; the roofline when left out.
    """
    estimate = costs or Placed(shape, sku, profile.tp, profile.pp).cost
    points: list[Measured] = []
    for level in profile.levels:
        if level.requests > 0 and level.rate_rps is None and level.output_tokens_mean > 1:
            points += _points(profile, level, sku, estimate)
    return points


def _points(profile: Profile, level: LoadLevel, sku: SkuFacts, costs: Costs) -> list[Measured]:
    engine = (profile.engine.split() or [""])[0]

    def point(cost: StepCost, time_ms: float) -> Measured:
        length = level.input_tokens_mean + level.output_tokens_mean / 2
        batch = float(level.concurrency)
        case = Case(engine, sku, profile.model, cost, batch, length, profile.tp)
        return Measured(case, time_ms / 1000)

    prompt = costs(Load(prompts=1, prompt_tokens=max(level.input_tokens_mean, 1.0)))
    found = [point(_token_cost(level, costs, prompt), level.tpot_ms.mean)]
    if level.concurrency == 1:
        found.append(point(prompt, level.ttft_ms.mean))
    return found


def _token_cost(level: LoadLevel, costs: Costs, prompt: StepCost) -> StepCost:
    held = float(level.concurrency)
    context = held * (level.input_tokens_mean + level.output_tokens_mean / 2)
    # A prompt rides along in a step that reads the weights anyway.
    added = prompt._replace(host_s=0.0, memory_s=0.0)
    beside = added.times((held - 1) / (level.output_tokens_mean - 1))
    return costs(Load(decoding=held, context_tokens=context)).plus(beside)


def _factors(
    calibration: Calibration, model: str, placed: Placed, costs: Costs
) -> Callable[[float], StepCost]:
    def factors(sequences: float) -> StepCost:
        return calibration.factors(_case(model, placed, costs, sequences))

    return factors


def _sigma(
    calibration: Calibration, model: str, placed: Placed, costs: Costs, max_num_seqs: int
) -> float:
    """Return the standard deviation of a usual request's logarithmic error."""
    case = _case(model, placed, costs, float(min(max_num_seqs, USUAL_BATCH)))
    return calibration.corrected(case).sigma


def _case(model: str, placed: Placed, costs: Costs, sequences: float) -> Case:
    """One request's answer beside others: decoding, and the neighbours' prompts."""
    length = PROMPT_TOKENS + ANSWER_TOKENS / 2
    decoding = costs(Load(decoding=sequences, context_tokens=sequences * length))
    prompt = costs(Load(prompts=1, prompt_tokens=PROMPT_TOKENS))
    cost = decoding.times(ANSWER_TOKENS - 1).plus(prompt.times(sequences))
    return Case(ENGINE, placed.sku, model, cost, sequences, length, placed.tp)


def by_cause(step: StepTime) -> Costs:
    """Return a step-time model as costs by cause, so that it can be calibrated like a roofline."""

    def costs(load: Load) -> StepCost:
        return StepCost(
            host_s=step.per_request_s * load.prompts,
            sequence_s=step.per_sequence_s * (load.decoding + load.prompts),
            memory_s=step.fixed_s,
            compute_s=step.per_prefill_token_s * load.prompt_tokens,
            attention_s=step.per_context_token_s * load.context_tokens,
            communication_s=0.0,
        )

    return costs
