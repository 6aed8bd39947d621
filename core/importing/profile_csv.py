"""Profiles as a table, for tools without an importer; docs/importing.md has its terms.

One row is one load. Units are in the names of the columns: `ttft_ms` or `ttft_s`, never `ttft`.
Percentiles are suffixes: `ttft_ms_p95`; without one it is the mean.
"""

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from core.errors import InvalidInput
from core.importing.profile_assembly import Draft, Given, Kind, checked_kind
from core.importing.profile_levels import Measured, Partial, load_level

ENGINE = "profile CSV"
MAX_ROWS = 20_000
TIME = re.compile(r"(ttft|tpot|e2e)_(ms|s)(?:_(mean|p50|p95|p99))?")
TIME_LIKE = re.compile(r"(ttft|tpot|itl|e2e|e2el|latency)(_.*)?")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
LOADS = ("concurrency", "batch_size", "rate_rps")
NAMES = ("model", "gpu")
NUMBERS = (
    *("tp", "pp", *LOADS, "input_tokens", "output_tokens", "throughput_rps", "throughput_tok_s"),
    *("throughput_total_tok_s", "requests", "errors", "duration_s", "memory_gib"),
)
LARGEST = 1e12
ELSEWHERE = {
    "hardware": "gpu",
    "device": "gpu",
    "sku": "gpu",
    "tensor_parallel": "tp",
    "pipeline_parallel": "pp",
    "isl": "input_tokens",
    "prompt_tokens": "input_tokens",
    "osl": "output_tokens",
    "completion_tokens": "output_tokens",
    "max_concurrency": "concurrency",
    "request_rate": "rate_rps",
    "prompt_time_ms": "ttft_ms",
    "token_time_ms": "tpot_ms",
    "itl_ms": "tpot_ms",
    "e2e_time_ms": "e2e_ms",
    "e2el_ms": "e2e_ms",
    "request_latency_ms": "e2e_ms",
    "latency_ms": "e2e_ms",
    "latency_s": "e2e_s",
}
"""What other tables call our columns, for hints."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One row: its place and the cells that are filled, by column."""

    where: str
    cells: Mapping[str, str]

    def number(self, column: str) -> float | None:
        """Return a cell as a number that is not negative; None where it is empty."""
        text = self.cells.get(column)
        if text is None:
            return None
        if not NUMBER.fullmatch(text):
            raise InvalidInput(
                f"{self.where}: {column} is {text[:40]!r}, not a number.",
                "Plain numbers with a decimal point, without units and thousands separators.",
            )
        value = float(text)
        if not 0 <= value <= LARGEST:
            raise InvalidInput(
                f"{self.where}: {column} is {text[:40]}, which cannot be.",
                "Nothing in this table is negative or that large.",
            )
        return value

    def positive(self, column: str) -> float | None:
        """Return a cell as a number above zero; None where it is empty."""
        value = self.number(column)
        if value == 0:
            raise InvalidInput(
                f"{self.where}: {column} is 0.", "Leave the cell empty where it is unknown."
            )
        return value

    def whole(self, column: str) -> int | None:
        """Return a cell as a whole number; None where it is empty."""
        value = self.number(column)
        if value is not None and value != int(value):
            raise InvalidInput(
                f"{self.where}: {column} is {self.cells[column]}, not a whole number.",
                "Counts are whole numbers.",
            )
        return None if value is None else int(value)

    def required(self, column: str) -> float:
        """Return a cell as a number above zero."""
        value = self.positive(column)
        if value is None:
            raise InvalidInput(
                f"{self.where}: {column} is empty.", "Every row needs it; docs/importing.md."
            )
        return value


def read(text: str, file_name: str, given: Given, notes: list[str]) -> list[Draft]:
    """Return the load level of each row.

    Raises:
        InvalidInput: A column is missing or not understood, or a row cannot be used; names the
            row as a spreadsheet numbers it.
    """
    return [_draft(row, file_name, given, notes) for row in _rows(text, file_name, given, notes)]


def _rows(text: str, file_name: str, given: Given, notes: list[str]) -> list[_Row]:
    records = _records(text, file_name)
    at, header = next(((i, r) for i, r in enumerate(records) if any(r)), (0, []))
    columns = [name.strip().lower() for name in header]
    _check_columns(columns, f"{file_name}, row {at + 1}", given, notes)
    rows = []
    for number, record in enumerate(records[at + 1 :], at + 2):
        where = f"{file_name}, row {number}"
        cells = [cell.strip() for cell in record]
        if not any(cells):
            continue
        if len(cells) > len(columns) and any(cells[len(columns) :]):
            raise InvalidInput(
                f"{where} has {len(cells)} cells, the header {len(columns)}.",
                "A decimal comma or a comma in a name needs quotes around the cell.",
            )
        named = zip(columns, cells, strict=False)
        rows.append(_Row(where, {column: cell for column, cell in named if column and cell}))
    if not 0 < len(rows) <= MAX_ROWS:
        raise InvalidInput(
            f"{file_name} has {len(rows)} rows below its header.",
            f"From 1 to {MAX_ROWS} are read; one row is one load.",
        )
    return rows


def _records(text: str, file_name: str) -> list[list[str]]:
    try:
        return list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise InvalidInput(
            f"{file_name} is not a CSV table: {error}.",
            "Separate cells by commas, put quotes around text that holds one.",
        ) from error


def _check_columns(columns: list[str], where: str, given: Given, notes: list[str]) -> None:
    known = set(filter(None, columns))
    if len(known) < len([name for name in columns if name]):
        twice = next(name for name in columns if name and columns.count(name) > 1)
        raise InvalidInput(f"{where}: the column {twice!r} is there twice.", "Keep one of them.")
    _refuse_units(known, where)
    if missing := _missing(known, given):
        raise InvalidInput(f"{where}: {missing} is missing.", _advice(known))
    others = known - {*NAMES, *NUMBERS} - {name for name in known if TIME.fullmatch(name)}
    if others:
        shown = ", ".join(sorted(name[:40] for name in others)[:12])
        notes.append(f"Columns that are not understood are left out: {shown}.")


def _refuse_units(known: set[str], where: str) -> None:
    """A time that is not understood must not silently be left out."""
    for name in sorted(known):
        if TIME_LIKE.fullmatch(name) and not TIME.fullmatch(name):
            raise InvalidInput(
                f"{where}: the column {name[:40]!r} is not understood.",
                _renames(known)
                or "Times are ttft_ms, tpot_ms and e2e_ms (or _s), percentiles ttft_ms_p95.",
            )
    given: dict[tuple[str, str], str] = {}
    for name in sorted(known):
        if found := TIME.fullmatch(name):
            key = (found[1], found[3] or "mean")
            if key in given:
                raise InvalidInput(
                    f"{where}: {given[key]!r} and {name!r} are the same figure.",
                    "Keep one of them.",
                )
            given[key] = name


def _missing(known: set[str], given: Given) -> str:
    for name, asked in (("model", given.model), ("gpu", given.gpu)):
        if name not in known and not asked:
            return f"the column {name!r}"
    for name in ("input_tokens", "output_tokens"):
        if name not in known:
            return f"the column {name!r}"
    if not known & set(LOADS):
        return "the load (concurrency, batch_size or rate_rps)"
    times = {found[1] for name in known if (found := TIME.fullmatch(name))}
    return "" if len(times) >= 2 else "a time (two of ttft_ms, tpot_ms and e2e_ms)"


def _advice(known: set[str]) -> str:
    if renames := _renames(known):
        return renames
    if len(known) == 1 and any(mark in next(iter(known)) for mark in ";\t|"):
        return "Separate the cells by commas, with a decimal point in numbers."
    return (
        "The header needs model, gpu, a load, input_tokens, output_tokens and two times, such as "
        "ttft_ms and tpot_ms; docs/importing.md has them all."
    )


def _renames(known: set[str]) -> str:
    found = [f"{name} to {ELSEWHERE[name]}" for name in sorted(known & set(ELSEWHERE))]
    return f"Rename {', '.join(found)}." if found else ""


def _draft(row: _Row, file_name: str, given: Given, notes: list[str]) -> Draft:
    tp, pp = row.whole("tp"), row.whole("pp")
    kind = Kind(
        row.cells.get("model", given.model),
        row.cells.get("gpu", given.gpu),
        given.tp if tp is None else tp,
        given.pp if pp is None else pp,
    )
    level = load_level(_measured(row), notes)
    return Draft(row.where, file_name, checked_kind(kind, row.where), level, given.now)


def _measured(row: _Row) -> Measured:
    held, rate_rps = _load(row)
    input_tokens, output_tokens = row.required("input_tokens"), row.required("output_tokens")
    return Measured(
        where=row.where,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        ttft_ms=_times(row, "ttft"),
        tpot_ms=_times(row, "tpot"),
        e2e_ms=_times(row, "e2e"),
        concurrency=held,
        rate_rps=rate_rps,
        requests=row.whole("requests"),
        errors=row.whole("errors") or 0,
        requests_per_s=_requests_per_s(row, input_tokens, output_tokens),
        memory_bytes=int((row.number("memory_gib") or 0.0) * 2**30),
        whole=True,
    )


def _load(row: _Row) -> tuple[int | None, float | None]:
    """A static batch is a closed loop of as many requests."""
    filled = [name for name in LOADS if name in row.cells]
    if len(filled) != 1:
        raise InvalidInput(
            f"{row.where}: {' and '.join(filled) or 'no load'} given.",
            f"Each row needs exactly one of {', '.join(LOADS)}.",
        )
    if filled == ["rate_rps"]:
        return None, row.positive("rate_rps")
    return row.whole(filled[0]), None


def _times(row: _Row, name: str) -> Partial:
    def ms(part: str) -> float | None:
        for suffix in (f"_{part}", "") if part == "mean" else (f"_{part}",):
            for unit, to_ms in (("ms", 1.0), ("s", 1000.0)):
                value = row.number(f"{name}_{unit}{suffix}")
                if value is not None:
                    return value * to_ms
        return None

    return Partial(ms("mean"), ms("p50"), ms("p95"), ms("p99"))


def _requests_per_s(row: _Row, input_tokens: float, output_tokens: float) -> float | None:
    """Throughput as it is given; all that are given must agree."""
    duration_s, requests = row.positive("duration_s"), row.whole("requests")
    in_tokens, in_total = row.positive("throughput_tok_s"), row.positive("throughput_total_tok_s")
    found = {
        "throughput_rps": row.positive("throughput_rps"),
        "throughput_tok_s": None if in_tokens is None else in_tokens / output_tokens,
        "throughput_total_tok_s": None
        if in_total is None
        else in_total / (input_tokens + output_tokens),
        "requests / duration_s": None
        if duration_s is None or requests is None
        else requests / duration_s,
    }
    known = {name: value for name, value in found.items() if value is not None}
    for (first, a), (second, b) in pairwise(known.items()):
        if not a / 2 <= b <= a * 2:
            raise InvalidInput(
                f"{row.where}: {first} is {a:.3g} requests/s but {second} {b:.3g}.",
                "throughput_tok_s counts output tokens only; with prompts included it is "
                "throughput_total_tok_s.",
            )
    return next(iter(known.values()), None)
