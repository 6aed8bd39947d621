"""Outcomes that others scored: who answered what how well, from tables and from lm-eval."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from core.domain.quality import Outcome
from core.errors import InvalidInput
from core.importing import lm_eval, outcome_table
from core.importing.outcome_values import MAX_NAME_CHARS, UNSTORABLE, Cells, name_of
from core.importing.trace_rows import Bounds, JsonRows, RowSource, open_rows

BOUNDS = Bounds(rows=500_000)
MAX_OUTCOMES = 1_000_000
MAX_CLASSES = 50
MAX_MODELS = 50
DEFAULT_CLASS = "all"

Reader = lm_eval.Samples | outcome_table.Table


@dataclass(frozen=True, slots=True)
class Given:
    """What the operator says about a file.

    Attributes:
        model: Model that answered, where the file does not say; empty takes the file's word.
        query_class: Class of queries without one.
        metric: Which of several metrics to take, or what a table's score is called.
        filter_name: Which of lm-eval's filters to take, such as "flexible-extract"; empty takes
            the first.
    """

    model: str = ""
    query_class: str = ""
    metric: str = ""
    filter_name: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """One scored answer of a file.

    Attributes:
        number: Of its row or line, for messages.
        query_class: Empty when the file says none.
        output_tokens: 0 when unknown.
    """

    number: int
    query: str
    query_class: str
    model: str
    score: float
    output_tokens: int


@dataclass(frozen=True, slots=True)
class ImportedOutcomes:
    """What a file held.

    Attributes:
        outcomes: One per query and model.
        format: "table" or "lm-evaluation-harness".
        metric: What the scores are.
        notes: What was left out or understood in a certain way, one sentence each.
    """

    outcomes: tuple[Outcome, ...]
    format: str
    metric: str
    notes: tuple[str, ...]

    @property
    def models(self) -> tuple[str, ...]:
        """Models that answered, sorted."""
        return tuple(sorted({outcome.model for outcome in self.outcomes}))

    @property
    def classes(self) -> tuple[str, ...]:
        """Query classes, sorted."""
        return tuple(sorted({outcome.query_class for outcome in self.outcomes}))


def parse_outcomes(
    content: bytes, file_name: str, job_id: str, given: Given | None = None
) -> ImportedOutcomes:
    """Read per-query outcomes from CSV, JSON lines or Parquet, or lm-eval's `--log_samples` files.

    A table has a row per query and model (columns `query`, `model`, `score`, and perhaps
    `query_class`, `output_tokens`), or a row per query and columns `score__MODEL`. The same
    query answered several times by a model counts once, with the last answer: a mean of right and
    wrong ones would be a graded score.

    Args:
        content: The file; at most 64 MiB and 500,000 rows.
        file_name: Its name, for messages; of lm-eval's files it tells the task.
        job_id: What the outcomes will be known to come from.
        given: What the operator adds.

    Raises:
        InvalidInput: The file or one of its rows cannot be used; names the row.
    """
    given = _checked(given or Given())
    source = open_rows(content, file_name, outcome_table.is_known, BOUNDS)
    reader: Reader
    if isinstance(source, JsonRows) and lm_eval.recognises(source.columns):
        reader = lm_eval.Samples(source, file_name, given.model, given.metric, given.filter_name)
    else:
        reader = outcome_table.Table(source, given.model, given.metric)
    default = given.query_class or reader.default_class or DEFAULT_CLASS
    rows = (Found(number, *its) for number, its in _named(source, reader.rows()))
    outcomes, notes = _joined(rows, default, job_id, reader.metric)
    if not outcomes:
        raise InvalidInput(
            f"{file_name} holds no scored answer.", "One row per query and model is needed."
        )
    return ImportedOutcomes(outcomes, reader.format, reader.metric, (*reader.notes(), *notes))


def _checked(given: Given) -> Given:
    for value in (given.model, given.query_class, given.metric, given.filter_name):
        if len(value) > MAX_NAME_CHARS or UNSTORABLE.search(value):
            raise InvalidInput(
                f"{value[:MAX_NAME_CHARS]!r} is no name.",
                f"Names are printable and have 1 to {MAX_NAME_CHARS} characters.",
            )
    return Given(*(value.strip() for value in _values(given)))


def _values(given: Given) -> tuple[str, str, str, str]:
    return given.model, given.query_class, given.metric, given.filter_name


def _named(
    source: RowSource, rows: Iterator[tuple[int, Callable[[], Iterable[Cells]]]]
) -> Iterator[tuple[int, Cells]]:
    """Read row by row; what is wrong is said with the number of the row."""
    for number, read in rows:
        try:
            found = list(read())
        except InvalidInput as error:
            what = f"{source.word} {number:,}: {error.message}"
            raise InvalidInput(what, error.hint) from error
        for cells in found:
            yield number, cells


def _joined(
    rows: Iterable[Found], default_class: str, job_id: str, metric: str
) -> tuple[tuple[Outcome, ...], list[str]]:
    """Return an outcome per query and model, and what there is to say about that."""
    default = name_of("query class", default_class)
    answers: dict[tuple[str, str], Found] = {}
    count = 0
    for count, row in enumerate(rows, 1):
        if count > MAX_OUTCOMES:
            raise InvalidInput(
                f"The file has more than {MAX_OUTCOMES:,} scored answers.", "Import a part of it."
            )
        answers[row.query, row.model] = row
    outcomes = tuple(_outcome(its, default, job_id, metric) for its in answers.values())
    _require_few("query classes", {its.query_class for its in outcomes}, MAX_CLASSES)
    _require_few("models", {its.model for its in outcomes}, MAX_MODELS)
    notes = []
    if count > len(outcomes):
        notes.append(
            f"Left out: {count - len(outcomes):,} answers to a query that the model answers again "
            "further down; the last one counts."
        )
    if outcomes and not any(its.output_tokens for its in outcomes):
        notes.append("Lengths of answers are not in the file.")
    return outcomes, notes


def _outcome(its: Found, default_class: str, job_id: str, metric: str) -> Outcome:
    return Outcome(
        query=its.query,
        query_class=its.query_class or default_class,
        model=its.model,
        score=its.score,
        output_tokens=its.output_tokens,
        job_id=job_id,
        metric=metric,
    )


def _require_few(what: str, names: set[str], most: int) -> None:
    if len(names) > most:
        raise InvalidInput(
            f"The file has {len(names)} {what}.", f"At most {most} are planned for; group them."
        )
