"""What the compiled simulation reads and writes: rows of replicas and requests, side by side."""

from typing import Annotated, NamedTuple, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from core.estimate.simulator.spec import Floats, Integers

Rows = NDArray[np.void]
Short = Annotated[int, np.int32]  # rows stay small, so that more of them stay in the cache


class Replica:
    """One replica: its constants, and where it stands at `clock_s`, between two steps.

    All decoding sequences advance by a token per step, so the batch is a few sums.
    """

    fixed_s: float
    per_sequence_s: float
    per_context_token_s: float
    per_prefill_token_s: float
    per_request_s: float
    overhead_s: float
    clock_s: float
    context: int  # tokens in the cache of the decoding sequences
    steps: int  # done so far
    kv_blocks: int
    free_blocks: int
    first_finishing: int  # where its part of `Fleet.finishing` begins
    first_phase: int  # where its part of `Fleet.phases` begins
    max_num_seqs: Short
    max_num_batched_tokens: Short
    block_size: Short
    devices: Short
    phase: Short  # steps modulo block_size
    plain_steps: Short  # next ones that nothing but an arrival disturbs
    decoding: Short  # sequences
    prefilling: Short  # the request whose prompt is unfinished; the last admitted, if any
    prefilled: Short  # its computed tokens
    head: Short  # of the queue
    tail: Short
    outstanding: Short  # as dispatch counts them
    finished: Short  # of those, at clock_s: they count until then
    admissions: Short


class Request:
    """One request."""

    input_tokens: Short
    output_tokens: Short
    cached_tokens: Short
    generated: Short  # up to date when it waits
    behind: Short  # next in the queue
    admission: Short  # the larger, the later
    preemptions: Short
    replica: Short


class Fleet(NamedTuple):
    """R replicas of one model, n requests for it, and what happens to them.

    Attributes:
        replicas: R of type `REPLICA`.
        requests: n of type `REQUEST`, in order of arrival.
        first_token_s: n; when its first token was there.
        finished_s: n; when its last token was there.
        finishing: Per replica a heap of the decoding sequences, first to finish on top.
        phases: Per replica and remainder p, sequences that need a block at steps p modulo
            the block size.
        ends_s: Tree over the replicas: a moment before which nothing outstanding finishes.
        load: Tree over the replicas: outstanding requests per device.
    """

    replicas: Rows
    requests: Rows
    first_token_s: Floats
    finished_s: Floats
    finishing: Integers
    phases: NDArray[np.int32]
    ends_s: Floats
    load: Floats


def _row_type(layout: type) -> np.dtype[np.void]:
    """Return the type of rows with the annotated fields of a class."""

    def stored(kind: object) -> type:
        if get_origin(kind) is Annotated:
            narrow: type = get_args(kind)[1]
            return narrow
        return np.float64 if kind is float else np.int64

    fields = get_type_hints(layout, include_extras=True).items()
    return np.dtype([(name, stored(kind)) for name, kind in fields], align=True)


REPLICA = _row_type(Replica)
REQUEST = _row_type(Request)
