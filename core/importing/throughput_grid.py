"""Throughput grids of AIBrix: the highest requests/s a GPU sustains per (output, input) length.

    {"gpu": ..., "cost": $/h, "tputs": [output][input] in requests/s,
     "indexes": [[output tokens], [input tokens]], "e2e": [output][input] in seconds (newer files)}

Such a grid knows capacity, not latency. A batch of B requests of I prompt and O answer tokens is
answered in B times the busy time of one,

    1 / throughput = per_request + I per_prefill_token
                   + O (fixed / B) + O (I + O / 2) per_context_token

which is linear in what is fitted (non-negative least squares of relative errors; Lawson & Hanson
1974). B comes from `e2e` by Little's law, or else is assumed: it scales `fixed`, hence latency,
and leaves capacity as it is.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from core.domain.profile import EngineLimits, LoadLevel, StepTime
from core.errors import InvalidInput
from core.importing.profile_assembly import Draft, Given, kind_of, moment
from core.importing.profile_json import Node
from core.importing.profile_levels import MAX_CONCURRENCY, Measured, Partial, load_level

ENGINE = "throughput grid"
ASSUMED_IN_FLIGHT = 256
"""The batch limit (max_num_seqs) of vLLM when it is not told."""
BATCHED_TOKENS = 8192
BLOCK_SIZE = 16
LEAST_CELLS = 4
MAX_SIDE = 1000
MAX_TOKENS = 10**8
FASTER = 2.0
"""Longer requests cannot be served so much faster than shorter ones."""

Grid = NDArray[np.float64]


def recognises(document: Node) -> bool:
    """Whether a document has the marks of this format, or of Mélange's variant of it."""
    return document.has("tputs") or any(
        isinstance(entry, dict) and "tputs" in entry for entry in _entries(document)
    )


def _entries(document: Node) -> list[object]:
    info = document.get("gpu_info").value
    inside = info if info is not None else document.value
    if isinstance(inside, dict):
        return list(inside.values())
    return list(inside) if isinstance(inside, list) else []


def read(document: Node, given: Given, notes: list[str]) -> list[Draft]:
    """Return one load level, the grid's central lengths, with a step-time model of the whole grid.

    Raises:
        InvalidInput: The grid has no lengths, another shape, too few cells, or cells that
            contradict each other.
    """
    if not document.has("tputs", "indexes"):
        raise InvalidInput(
            f"{document.where} holds throughputs without the lengths they are for.",
            'Write one file per GPU: {"gpu": ..., "tputs": [output][input], "indexes": '
            "[[output tokens], [input tokens]]}. Rows of Mélange's own grids are inputs: "
            "transpose them.",
        )
    named = document.get("gpu").text()
    kind = kind_of(given, document.where, notes, gpu=named)
    cells = _cells(document, notes)
    in_flight = _in_flight(document, cells, notes)
    step = _step(cells, in_flight, notes)
    if "simul" in named.lower():
        notes.append(f"{named!r} says that its authors simulated these numbers.")
    if document.get("cost").value is not None:
        notes.append("The grid's cost is not taken over; prices are kept on the Inventory page.")
    at = moment(document.get("created").optional_number(), given.now)
    level = _central(document.where, cells, step, in_flight, notes)
    limits = _limits(cells, in_flight)
    return [Draft(document.where, document.file_name, kind, level, at, step, limits)]


@dataclass(frozen=True)
class _Cells:
    """n cells with a throughput.

    Attributes:
        rows: n; positions in the grid, outputs first.
        columns: n; likewise, inputs.
        outputs: n; answer lengths in tokens.
        inputs: n; prompt lengths in tokens.
        rates_rps: n; requests per second.
    """

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    outputs: Grid
    inputs: Grid
    rates_rps: Grid


def _cells(document: Node, notes: list[str]) -> _Cells:
    sides = document.get("indexes").items()
    if len(sides) != 2:
        raise InvalidInput(
            f"{document.get('indexes').where} does not hold two lists.",
            "[[output tokens], [input tokens]] are needed.",
        )
    outputs, inputs = _lengths(sides[0]), _lengths(sides[1])
    grid = _grid(document.get("tputs"), len(outputs), len(inputs))
    _refuse_faster_longer(document.get("tputs"), grid)
    rows, columns = np.nonzero(grid)
    if len(rows) < LEAST_CELLS:
        raise InvalidInput(
            f"{document.get('tputs').where} has {len(rows)} cells with a throughput.",
            f"At least {LEAST_CELLS} lengths are needed to tell prompts from answers.",
        )
    if empty := grid.size - len(rows):
        notes.append(f"{empty} cells of the grid are empty (no rate met the target) and left out.")
    return _Cells(rows, columns, outputs[rows], inputs[columns], grid[rows, columns])


def _lengths(node: Node) -> Grid:
    values = [item.positive() for item in node.items()]
    rising = all(a < b for a, b in pairwise(values))
    if not 0 < len(values) <= MAX_SIDE or not rising or values[0] < 1 or values[-1] > MAX_TOKENS:
        raise InvalidInput(
            f"{node.where} is no rising list of lengths.", "Lengths are in tokens, from 1 on."
        )
    return np.array(values)


def _grid(node: Node, rows: int, columns: int) -> Grid:
    values = [[cell.number() for cell in row.items()] for row in node.items()]
    if len(values) != rows or any(len(row) != columns for row in values):
        shape = f"{len(values)} x {len(values[0]) if values else 0}"
        turned = len(values) == columns and all(len(row) == rows for row in values)
        raise InvalidInput(
            f"{node.where} is {shape}; there are {rows} output and {columns} input lengths.",
            "Rows are outputs, columns inputs"
            + (": transpose the grid." if turned else "; each row needs all columns."),
        )
    return np.array(values)


def _refuse_faster_longer(node: Node, grid: Grid) -> None:
    for axis, what in ((0, "answers"), (1, "prompts")):
        before = np.delete(grid, -1, axis)
        after = np.delete(grid, 0, axis)
        wrong = np.argwhere((before > 0) & (after > FASTER * before))
        if len(wrong):
            row, column = wrong[0] + np.eye(2, dtype=int)[axis]
            raise InvalidInput(
                f"{node.where}[{row}][{column}] is {grid[row, column]:.3g} requests/s, more than "
                f"twice that of shorter {what}.",
                "Rows are outputs, columns inputs, both rising. Are two cells swapped?",
            )


def _in_flight(document: Node, cells: _Cells, notes: list[str]) -> int:
    node = document.get("e2e")
    if node.value is None:
        notes.append(
            f"The grid holds throughput only. Latency assumes batches of {ASSUMED_IN_FLIGHT} "
            "requests (vLLM's default limit) at that throughput: a smaller real batch is faster. "
            "Measure a profile before you rely on latency."
        )
        return ASSUMED_IN_FLIGHT
    sides = document.get("indexes").items()
    e2e_s = _grid(node, len(sides[0].items()), len(sides[1].items()))[cells.rows, cells.columns]
    held = float(np.median(cells.rates_rps * e2e_s))
    notes.append(f"Throughput x E2E make {held:.3g} requests in flight (median of the grid).")
    if not 0 < held <= MAX_CONCURRENCY:
        raise InvalidInput(
            f"{node.where} x tputs make {held:.3g} requests in flight.",
            "e2e is in seconds, tputs in requests per second.",
        )
    return max(1, round(held))


def _step(cells: _Cells, in_flight: int, notes: list[str]) -> StepTime:
    context = cells.outputs * (cells.inputs + cells.outputs / 2)
    terms = np.stack([np.ones_like(context), cells.inputs, cells.outputs, context], axis=1)
    weighted = terms * cells.rates_rps[:, None]
    # Columns of one size: the solver's tolerance is absolute.
    scale = weighted.max(axis=0)
    # scipy.optimize takes half a second to load, and this module is loaded by the dashboard.
    from scipy.optimize import nnls

    found, _ = nnls(weighted / scale, np.ones(len(weighted)))
    found = found / scale
    error = np.abs(1 / (weighted @ found) - 1)
    notes.append(
        f"A step-time model is fitted to {len(error)} cells; it gives their throughput within "
        f"{np.median(error):.0%} (median), {error.max():.0%} (worst)."
    )
    per_request, prefill, sequence, token = map(float, found)
    return StepTime(
        fixed_s=sequence * in_flight,
        per_sequence_s=0.0,
        per_context_token_s=token,
        per_prefill_token_s=prefill,
        per_request_s=per_request,
    )


def _limits(cells: _Cells, in_flight: int) -> EngineLimits:
    """A cache that just holds full batches of the longest requests in the grid."""
    longest = float(np.max(cells.inputs + cells.outputs))
    return EngineLimits(
        max_num_seqs=in_flight,
        max_num_batched_tokens=BATCHED_TOKENS,
        kv_blocks=in_flight * int(np.ceil(longest / BLOCK_SIZE)),
        block_size=BLOCK_SIZE,
    )


def _central(
    where: str, cells: _Cells, step: StepTime, in_flight: int, notes: list[str]
) -> LoadLevel:
    """The cell nearest to the geometric mean of the lengths, as a load level."""
    logs = np.log(np.stack([cells.outputs, cells.inputs]))
    at = int(np.argmin(((logs - logs.mean(axis=1, keepdims=True)) ** 2).sum(axis=0)))
    inputs, outputs = float(cells.inputs[at]), float(cells.outputs[at])
    rate_rps = float(cells.rates_rps[at])
    e2e_s = in_flight / rate_rps
    context = in_flight * (inputs + outputs / 2)
    decode_s = step.fixed_s + context * step.per_context_token_s
    own_s = step.per_request_s + inputs * step.per_prefill_token_s + decode_s
    # What batching costs beyond its own work is spread over the tokens evenly.
    ttft_s = min(max(own_s, e2e_s / outputs), e2e_s / 2 if outputs > 1 else e2e_s)
    return load_level(
        Measured(
            where=where,
            input_tokens=inputs,
            output_tokens=outputs,
            ttft_ms=Partial(mean=1000 * ttft_s),
            tpot_ms=Partial(mean=1000 * (e2e_s - ttft_s) / max(outputs - 1, 1.0)),
            e2e_ms=Partial(mean=1000 * e2e_s),
            concurrency=in_flight,
            requests_per_s=rate_rps,
            whole=True,
        ),
        notes,
    )
