"""From columns to rows and back, in one pass each."""

from typing import NamedTuple

from core.estimate.simulator.compiling import compiled
from core.estimate.simulator.rows import Fleet, Rows
from core.estimate.simulator.spec import Floats, Integers


class Columns(NamedTuple):
    """What `Timeline` holds."""

    ttft_s: Floats
    e2e_s: Floats
    replica: Integers
    preemptions: Integers


@compiled
def pack(
    numbers: Integers, inputs: Integers, outputs: Integers, cached: Integers, requests: Rows
) -> None:
    """Fill rows of type `REQUEST` from some numbers of three columns."""
    for at in range(len(numbers)):
        number, request = numbers[at], requests[at]
        request.input_tokens = inputs[number]
        request.output_tokens = outputs[number]
        request.cached_tokens = cached[number]
        request.generated = request.preemptions = 0


@compiled
def unpack(
    fleet: Fleet, arrived_at_s: Floats, numbers: Integers, positions: Integers, seen: Columns
) -> None:
    """Write what happened into columns.

    Args:
        fleet: After `play`.
        arrived_at_s: n; as for `play`.
        numbers: n; places in the columns.
        positions: R; what the replicas are called there.
        seen: The columns.
    """
    for at in range(len(numbers)):
        number, request = numbers[at], fleet.requests[at]
        since_s = fleet.replicas[request.replica].overhead_s - arrived_at_s[at]
        seen.ttft_s[number] = fleet.first_token_s[at] + since_s
        seen.e2e_s[number] = fleet.finished_s[at] + since_s
        seen.replica[number] = positions[request.replica]
        seen.preemptions[number] = request.preemptions
