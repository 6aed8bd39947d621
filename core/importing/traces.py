"""Traces that other tools recorded: what their columns mean, checked row by row."""

import re
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from core.domain.trace import Trace
from core.errors import InvalidInput
from core.importing.arrival_times import NUMERIC, UNITS_S, ArrivalTimes, spread_ties
from core.importing.trace_rows import open_rows

MAX_TOKENS = 10_000_000
MAX_CLASSES = 50
MAX_NAME_CHARS = 64
ARRIVAL, INPUT, OUTPUT, CLASS, PROMPT = (
    "arrived_at_s",
    "input_tokens",
    "output_tokens",
    "query_class",
    "prompt",
)
SYNONYMS = {
    ARRIVAL: "arrived_at arrival_time arrival arrived timestamp time ts start_time request_time "
    "created_at sent_at datetime",
    INPUT: "input_tokens prompt_tokens context_tokens request_tokens num_prefill_tokens "
    "prefill_tokens num_input_tokens num_prompt_tokens input_length prompt_length input_len "
    "prompt_len isl",
    OUTPUT: "output_tokens completion_tokens generated_tokens response_tokens answer_tokens "
    "num_decode_tokens decode_tokens num_output_tokens num_completion_tokens output_length "
    "response_length output_len response_len osl",
    CLASS: "query_class class category request_class task",
    PROMPT: "prompt text query question",
}
"""What a field may be called, the best name first; case and separators do not count."""
SEPARATORS = re.compile(r"[^a-z0-9]")
NAMES = {f: [SEPARATORS.sub("", n) for n in names.split()] for f, names in SYNONYMS.items()}
UNIT = re.compile(r"[^a-z](n|u|m|nano|micro|milli|)(?:s|secs?|seconds)\W*$")
UNIT_KEYS = {"nano": "ns", "micro": "us", "milli": "ms", "n": "ns", "u": "us", "m": "ms", "": "s"}
# NUL, which PostgreSQL refuses, and halves of surrogate pairs, which are no UTF-8.
UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")

Order = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class ImportedTrace:
    """What a file held.

    Attributes:
        trace: Its requests; the first arrives at 0.
        notes: What was left out or understood in a certain way, one sentence each.
    """

    trace: Trace
    notes: tuple[str, ...]


def parse_trace(
    content: bytes,
    file_name: str,
    *,
    default_class: str = "all",
    time_unit: str | None = None,
    classify: Callable[[str], str] | None = None,
) -> ImportedTrace:
    """Read a trace from CSV, JSON lines or Parquet.

    Needed are columns of arrival time (seconds from anything, time since 1970, or ISO 8601),
    prompt length and answer length in tokens. Requests without an answer (0 output tokens) are
    left out and counted: in public traces they are requests that failed.

    Args:
        content: The file; at most 64 MiB and 2,000,000 rows.
        file_name: Its name, for messages; its ending helps to tell the format.
        default_class: Query class of requests that have none.
        time_unit: "s", "ms", "us" or "ns"; None takes it from the column's name
            (`arrival_ms`), from the size of the numbers (time since 1970), or else seconds.
        classify: Returns the class of a prompt; used when there are prompts and no classes.

    Raises:
        InvalidInput: The file or one of its rows cannot be used; names the row.
    """
    if time_unit is not None and time_unit not in UNITS_S:
        raise InvalidInput(f"There is no unit {time_unit!r}.", f"Known: {', '.join(UNITS_S)}.")
    source = open_rows(content, file_name, lambda name: _field(name) is not None)
    chosen = _chosen(source.columns)
    if CLASS in chosen or classify is None:
        chosen.pop(PROMPT, None)
    reading = _Reading(_class_name(default_class), classify)
    for number, cells in source.rows(list(chosen.values())):
        try:
            reading.add(number, dict(zip(chosen, cells, strict=True)))
        except InvalidInput as error:
            what = f"{source.word} {number:,}: {error.message}"
            raise InvalidInput(what, error.hint) from error
    if not reading.numbers:
        raise InvalidInput(
            f"{file_name} holds no request with an answer.",
            "One row per request is needed, with at least one output token.",
        )
    unit = time_unit or _unit_in_name(chosen[ARRIVAL])
    return reading.result(unit, lambda i: f"{source.word} {reading.numbers[i]:,}")


@dataclass
class _Reading:
    """Columns that grow row by row."""

    default_class: str
    classify: Callable[[str], str] | None
    times: ArrivalTimes = field(default_factory=ArrivalTimes)
    numbers: "array[int]" = field(default_factory=lambda: array("q"))
    input_tokens: "array[int]" = field(default_factory=lambda: array("q"))
    output_tokens: "array[int]" = field(default_factory=lambda: array("q"))
    query_class: "array[int]" = field(default_factory=lambda: array("q"))
    classes: dict[str, int] = field(default_factory=dict)
    unanswered: int = 0
    unclassed: int = 0
    classified: int = 0

    def add(self, number: int, cells: Mapping[str, object]) -> None:
        """Append a request; one without an answer is only counted."""
        input_tokens = _tokens("prompt", cells[INPUT], 1)
        output_tokens = _tokens("answer", cells[OUTPUT], 0)
        if not output_tokens:
            self.unanswered += 1
            return
        self.times.add(cells[ARRIVAL])
        self.query_class.append(self._class(cells))
        self.input_tokens.append(input_tokens)
        self.output_tokens.append(output_tokens)
        self.numbers.append(number)

    def _class(self, cells: Mapping[str, object]) -> int:
        """Return the position of the request's class, a new one if need be."""
        given = cells.get(CLASS)
        if self.classify and given is None and cells.get(PROMPT):
            given = self.classify(str(cells[PROMPT]))
            self.classified += 1
        text = "" if given is None else str(given).strip()
        self.unclassed += not text
        name = text or self.default_class
        if name not in self.classes:
            if len(self.classes) >= MAX_CLASSES:
                raise InvalidInput(
                    f"this is class number {MAX_CLASSES + 1}.",
                    f"At most {MAX_CLASSES} query classes are planned for; group them.",
                )
            self.classes[_class_name(name)] = len(self.classes)
        return self.classes[name]

    def result(self, unit: str | None, where: Callable[[int], str]) -> ImportedTrace:
        """Return the requests in order of arrival, and what there is to say about them."""
        times_s, notes = self.times.seconds(unit, where)
        order = np.argsort(times_s, kind="stable")
        times_s = times_s[order] - times_s[order[0]]
        spread_s, ticks = spread_ties(times_s)
        trace = Trace(
            array("d", spread_s.tobytes()),
            _ordered(self.input_tokens, order),
            _ordered(self.output_tokens, order),
            _ordered(self.query_class, order),
            tuple(self.classes),
        )
        return ImportedTrace(trace, (*notes, *ticks, *self._left_out(order)))

    def _left_out(self, order: Order) -> list[str]:
        notes = []
        if np.any(np.diff(order) < 0):
            notes.append("Rows were not in order of arrival and have been sorted.")
        if self.unanswered:
            notes.append(f"Left out: {self.unanswered:,} without an answer (0 output tokens).")
        if self.classified:
            notes.append(f"{self.classified:,} were given a class by their prompts.")
        if self.unclassed and len(self.classes) > 1:
            notes.append(f"{self.unclassed:,} without a class are in {self.default_class!r}.")
        return notes


def _ordered(column: "array[int]", order: Order) -> "array[int]":
    return array("q", np.array(column)[order].tobytes())


def _chosen(columns: Sequence[str]) -> dict[str, str]:
    """Return the file's column per field."""
    found: dict[str, str] = {}
    for name in sorted(columns, key=_rank):
        meaning = _field(name)
        if meaning is not None and meaning not in found:
            found[meaning] = name
    has = ", ".join(name[:MAX_NAME_CHARS] for name in columns[:20])
    for needed in (ARRIVAL, INPUT, OUTPUT):
        if needed not in found:
            raise InvalidInput(
                f"There is no column of {needed}; there is: {has!r}.",
                f"Name one {needed}, or any of: {SYNONYMS[needed].replace(' ', ', ')}.",
            )
    twice = [name for name in found.values() if columns.count(name) > 1]
    if twice:
        raise InvalidInput(f"Two columns are called {twice[0]!r}.", "Leave one out.")
    return found


def _field(column: str) -> str | None:
    """Return the field that a column's name means."""
    plain = _plain(column)
    return next((name for name, known in NAMES.items() if plain in known), None)


def _rank(column: str) -> int:
    meaning = _field(column)
    return NAMES[meaning].index(_plain(column)) if meaning else len(SYNONYMS)


def _plain(column: str) -> str:
    return SEPARATORS.sub("", UNIT.sub("", column.strip().lower()))


def _unit_in_name(column: str) -> str | None:
    found = UNIT.search(column.strip().lower())
    return UNIT_KEYS[found.group(1)] if found else None


def _tokens(what: str, value: object, least: int) -> int:
    """Return a length in tokens; whole numbers may be written as 374.0."""
    number = _number(value)
    if number is None or not number.is_integer():
        raise InvalidInput(
            f"the {what} length {str(value)[:MAX_NAME_CHARS]!r} is not a whole number.",
            "Lengths are counted in tokens. Leave out rows without them.",
        )
    if not least <= number <= MAX_TOKENS:
        raise InvalidInput(
            f"the {what} has {number:,.0f} tokens.",
            f"Lengths are tokens, from {least} to {MAX_TOKENS:,}. Leave out failed requests.",
        )
    return int(number)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, NUMERIC):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _class_name(text: str) -> str:
    name = text.strip()
    if not name or len(name) > MAX_NAME_CHARS or UNSTORABLE.search(name):
        raise InvalidInput(
            f"{name[:MAX_NAME_CHARS]!r} is no name of a query class.",
            f"Classes are printable and have 1 to {MAX_NAME_CHARS} characters.",
        )
    return name
