"""Tables of outcomes: a row per query and model, or a row per query and columns per model."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from core.errors import InvalidInput
from core.importing.outcome_values import (
    CHARS_PER_TOKEN,
    MAX_NAME_CHARS,
    Cells,
    name_of,
    query_of,
    score_of,
    tokens_of,
)
from core.importing.trace_rows import RowSource

QUERY, OPTIONS, CLASS, MODEL, SCORE, TOKENS, CHARS = (
    "query",
    "options",
    "query_class",
    "model",
    "score",
    "output_tokens",
    "output_chars",
)
SYNONYMS = {
    QUERY: "query prompt question text input instruction problem",
    OPTIONS: "options options_json choices",
    CLASS: "query_class class category subject topic task",
    MODEL: "model model_name model_id",
    SCORE: "score correct is_correct right exact_match acc accuracy quality",
    TOKENS: "output_tokens completion_tokens generated_tokens response_tokens answer_tokens",
    CHARS: "output_chars out_chars answer_chars response_chars",
}
"""What a field may be called, the best name first; case and separators do not count."""
SEPARATORS = re.compile(r"[^a-z0-9]")
NAMES = {f: [SEPARATORS.sub("", n) for n in names.split()] for f, names in SYNONYMS.items()}
OF_MODEL = "__"
"""Between a field and the model it is of: `score__llama-3.1-8b`."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """Where one model's answers stand; positions among the chosen columns."""

    model: str
    score: int
    tokens: int | None
    chars: int | None


def is_known(column: str) -> bool:
    """Whether a column's name means something here."""
    return _field(column.split(OF_MODEL, maxsplit=1)[0]) is not None


class Table:
    """A table of outcomes; see `core.importing.outcomes.parse_outcomes`.

    Args:
        source: Its rows.
        model: Model of rows that name none.
        metric: What the score is called; empty takes the column's name. A column of that name
            is the score, whatever else there is.

    Raises:
        InvalidInput: A column is missing.
    """

    format = "table"
    default_class = ""

    def __init__(self, source: RowSource, model: str, metric: str) -> None:
        self._source = source
        self._model = model
        self._columns = _shared(source.columns, metric)
        self._wide = _per_model(source.columns, metric)
        self._unscored = 0
        self._require(source.columns)
        self._names = [*self._columns.values(), *self._wide_names()]
        self._at = {field: at for at, field in enumerate(self._columns)}
        score = next(iter(self._wide.values()))[SCORE] if self._wide else self._columns[SCORE]
        self.metric = metric or score.split(OF_MODEL)[0][:MAX_NAME_CHARS]

    def rows(self) -> Iterator[tuple[int, Callable[[], Iterable[Cells]]]]:
        """Return numbers of rows, and what reads each."""
        answers = self._answers()
        for number, cells in self._source.rows(self._names):
            yield number, partial(self._read, cells, answers)

    def notes(self) -> Sequence[str]:
        """Return what was understood in a certain way; after `rows`."""
        notes = []
        if self._unscored:
            notes.append(f"Left out: {self._unscored:,} answers without a score.")
        if any(its.tokens is None and its.chars is not None for its in self._answers()):
            notes.append(f"Answer lengths are characters / {CHARS_PER_TOKEN}, not counted tokens.")
        if OPTIONS in self._columns:
            notes.append("Options are lettered below the query, as a model is asked.")
        return notes

    def _read(self, cells: Sequence[object], answers: Sequence[_Answer]) -> Iterator[Cells]:
        query = query_of(self._cell(cells, QUERY), self._cell(cells, OPTIONS))
        its_class = self._cell(cells, CLASS)
        query_class = "" if its_class is None else name_of("query class", its_class)
        for answer in answers:
            score = score_of(cells[answer.score])
            if score is None:
                self._unscored += 1
                continue
            tokens, chars = (
                None if at is None else cells[at] for at in (answer.tokens, answer.chars)
            )
            model = answer.model or self._cell(cells, MODEL) or self._model
            yield query, query_class, name_of("model", model), score, tokens_of(tokens, chars)

    def _cell(self, cells: Sequence[object], field: str) -> object:
        at = self._at.get(field)
        return None if at is None else cells[at]

    def _answers(self) -> list[_Answer]:
        if not self._wide:
            places = (self._at.get(field) for field in (TOKENS, CHARS))
            return [_Answer("", self._at[SCORE], *places)]
        place = {name: at for at, name in enumerate(self._names)}
        return [
            _Answer(
                name_of("model", model),
                place[its[SCORE]],
                *(place[its[field]] if field in its else None for field in (TOKENS, CHARS)),
            )
            for model, its in self._wide.items()
        ]

    def _wide_names(self) -> list[str]:
        return [name for its in self._wide.values() for name in its.values()]

    def _require(self, columns: Sequence[str]) -> None:
        has = ", ".join(name[:MAX_NAME_CHARS] for name in columns[:20])
        needed = [QUERY] if self._wide else [QUERY, SCORE]
        missing = [field for field in needed if field not in self._columns]
        if missing:
            raise InvalidInput(
                f"There is no column of {missing[0]}; there is: {has!r}.",
                f"Name one {missing[0]}, or any of: {SYNONYMS[missing[0]].replace(' ', ', ')}. "
                "Scores of several models stand in columns like score__MODEL.",
            )
        if not self._wide and MODEL not in self._columns and not self._model:
            raise InvalidInput(
                "The file does not say which model answered.",
                "Name the model, or give the file a column `model`.",
            )
        used = [*self._columns.values(), *self._wide_names()]
        twice = [name for name in used if columns.count(name) > 1 or used.count(name) > 1]
        if twice:
            raise InvalidInput(f"Two columns are called {twice[0]!r}.", "Leave one out.")


def _shared(columns: Sequence[str], metric: str) -> dict[str, str]:
    """Return the file's column per field that rows have once."""
    found: dict[str, str] = {}
    if metric in columns:
        found[SCORE] = metric
    for name in sorted(columns, key=_rank):
        field = _field(name)
        if field is not None and OF_MODEL not in name and name != metric:
            found.setdefault(field, name)
    return found


def _per_model(columns: Sequence[str], metric: str) -> dict[str, Mapping[str, str]]:
    """Return the file's columns per model and field, of models with a score."""
    found: dict[str, dict[str, str]] = {}
    for name in sorted(columns, key=lambda name: _rank(name.split(OF_MODEL)[0])):
        what, sign, model = name.partition(OF_MODEL)
        field = SCORE if sign and metric and what == metric else _field(what)
        if sign and model.strip() and field in (SCORE, TOKENS, CHARS):
            found.setdefault(model.strip(), {}).setdefault(field, name)
    return {model: its for model, its in found.items() if SCORE in its}


def _field(column: str) -> str | None:
    plain = SEPARATORS.sub("", column.strip().lower())
    return next((field for field, known in NAMES.items() if plain in known), None)


def _rank(column: str) -> int:
    field = _field(column)
    if field is None:
        return len(SYNONYMS) + 10
    return NAMES[field].index(SEPARATORS.sub("", column.strip().lower()))
