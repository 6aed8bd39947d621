"""Mean values of one replica with a number of requests kept in flight, in closed form.

Requests of p prompt and o answer tokens, S of them in the batch, their phases spread evenly: of
the S in a step S/o begin, the others decode. By the step-time model (`core.domain.profile`) one
request adds to the steps of its stay, beside the fixed time and its share per sequence,

    g = per_request + p per_prefill + (o - 1) (p + o/2 - 1) per_context

(a decoding request's context runs from p to p + o - 2 tokens), so that a step takes on average
fixed + S per_sequence + S g / o, and a request stays o steps. This is mean-value arithmetic: it
knows nothing of the spread of lengths, so it is a line to compare measurements with; the
simulator is what predicts percentiles.
"""

import math
from dataclasses import dataclass

from core.domain.profile import EngineLimits, StepTime

ROUNDS = 30
"""Of halving the distance to the batch that agrees with its own speed."""


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """Mean values with a number of requests in flight.

    Attributes:
        throughput_rps: Finished requests per second.
        ttft_s: Time to first token.
        tpot_s: Time per output token after the first; 0 for answers of one token.
        e2e_s: Sending to last token.
    """

    throughput_rps: float
    ttft_s: float
    tpot_s: float
    e2e_s: float


def closed_loop_prediction(
    step: StepTime,
    limits: EngineLimits,
    input_tokens: float,
    output_tokens: float,
    concurrency: float,
) -> ClosedLoop:
    """Return what a replica does with `concurrency` requests kept in flight.

    Args:
        input_tokens: Mean prompt length, at least 1.
        output_tokens: Mean answer length, at least 1.
        concurrency: Requests in flight, at least 1; those beyond the batch limit, or beyond what
            the cache holds, wait for a place.
    """
    prompt, answer = max(input_tokens, 1.0), max(output_tokens, 1.0)
    room = _places(limits, prompt, answer)
    batch = min(concurrency, room)
    ttft_s, tpot_s = _stay(step, limits, prompt, answer, batch)
    for _ in range(ROUNDS if concurrency <= room else 0):
        stay_s = ttft_s + (answer - 1) * tpot_s
        in_engine = stay_s / (stay_s + _between_s(step, batch, tpot_s))
        batch = (batch + max(1.0, concurrency * in_engine)) / 2
        ttft_s, tpot_s = _stay(step, limits, prompt, answer, batch)
    stay_s = ttft_s + (answer - 1) * tpot_s
    # By Little's law; what is not the stay is waiting, or outside the engine.
    e2e_s = max(stay_s + step.overhead_s, concurrency * stay_s / batch)
    return ClosedLoop(concurrency / e2e_s, ttft_s + e2e_s - stay_s, tpot_s, e2e_s)


def _places(limits: EngineLimits, prompt: float, answer: float) -> float:
    """Return how many requests the batch holds, each with half its answer on average.

    Half a block more per request is what the last one leaves empty.
    """
    held = prompt + answer / 2 + limits.block_size / 2
    return max(1.0, min(float(limits.max_num_seqs), limits.kv_tokens / held))


def _stay(
    step: StepTime, limits: EngineLimits, prompt: float, answer: float, batch: float
) -> tuple[float, float]:
    """Return the time of a request's prompt and of each further token, with `batch` together.

    Of the steps that a request takes part in, the first hold its prompt: one, or as many as the
    token budget makes of it.
    """
    chunks = max(1.0, math.ceil(prompt / limits.max_num_batched_tokens))
    prefill_s = step.per_request_s + prompt * step.per_prefill_token_s
    context_s = (answer - 1) * (prompt + answer / 2 - 1) * step.per_context_token_s
    others_s = (batch - 1) * (prefill_s + context_s) / (answer + chunks - 1)
    common_s = step.fixed_s + batch * step.per_sequence_s + others_s
    if answer <= 1:
        return chunks * common_s + prefill_s, 0.0
    return chunks * common_s + prefill_s, common_s + context_s / (answer - 1)


def _between_s(step: StepTime, batch: float, step_s: float) -> float:
    """Return the time from an answer's end to the first step that the next request is part of.

    The client asks again after the overhead; meanwhile the others' next step has begun, and the
    request waits for its end.
    """
    if step.overhead_s <= 0 or batch <= 1 or step_s <= 0:
        return step.overhead_s
    return math.ceil(step.overhead_s / step_s) * step_s
