"""Files of lm-evaluation-harness with `--log_samples`: samples_TASK_TIME.jsonl.

A line per document has the document (`doc`), what the model was sent (`arguments`), what it
answered (`resps`), and a value per metric under the metric's name. Tasks with several filters
(such as `strict-match` and `flexible-extract`) have a line per filter.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import PurePath
from typing import Any

from core.errors import InvalidInput
from core.importing.outcome_values import CHARS_PER_TOKEN, Cells, name_of, query_of, score_of
from core.importing.trace_rows import JsonRows

SIGNS = {"doc", "resps"}
PARTS = ("doc", "arguments", "resps", "filter")
NO_METRIC = {
    *("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"),
    *("doc_hash", "prompt_hash", "target_hash", "task_name", "schema", "model"),
}
PREFERRED = ("exact_match", "acc", "acc_norm", "mc2", "f1", "em", "pass@1")
TEXTS = ("question", "query", "problem", "prompt", "input", "instruction", "text", "ctx", "goal")
"""Where documents have their question, if what was sent is not told."""
FILE_NAME = re.compile(r"samples_(?P<task>.+?)(?:_\d{4}-\d\d-\d\dT[\d.\-]+)?\.jsonl?$")


def recognises(columns: Sequence[str]) -> bool:
    """Whether the first line's names are those of logged samples."""
    return set(columns) >= SIGNS


class Samples:
    """Logged samples; see `core.importing.outcomes.parse_outcomes`.

    Args:
        source: Lines.
        file_name: Tells the task, which becomes the class.
        model: Model that answered; the file does not say.
        metric: Which metric; empty takes the first of `PREFERRED`, else the file's first.
        filter_name: Which filter; empty takes that of the first line.

    Raises:
        InvalidInput: The model is missing, or there is no such metric.
    """

    format = "lm-evaluation-harness"

    def __init__(
        self, source: JsonRows, file_name: str, model: str, metric: str, filter_name: str
    ) -> None:
        if not model:
            raise InvalidInput(
                "Samples of lm-evaluation-harness do not say which model answered.",
                "Name the model as it is called in BOute.",
            )
        self._source = source
        self._model = name_of("model", model)
        self.metric = _metric(source.columns, metric)
        self._filter: object = filter_name or None
        self._others: Counter[str] = Counter()
        self._unscored = 0
        task = FILE_NAME.search(PurePath(file_name).name)
        self.default_class = task["task"][:64] if task else ""

    def rows(self) -> Iterator[tuple[int, Callable[[], Iterable[Cells]]]]:
        """Return numbers of lines, and what reads each."""
        for number, cells in self._source.rows([*PARTS, self.metric]):
            yield number, partial(self._read, cells)

    def notes(self) -> Sequence[str]:
        """Return what was understood in a certain way; after `rows`."""
        notes = [
            f"Scores are {self.metric}; answer lengths are characters / {CHARS_PER_TOKEN}, not "
            "counted tokens."
        ]
        if self._others:
            others = ", ".join(sorted(self._others))
            notes.append(
                f"Of several filters {self._filter!r} was taken; left out: {others} "
                f"({self._others.total():,} lines)."
            )
        if self._unscored:
            notes.append(f"Left out: {self._unscored:,} answers without a score.")
        return notes

    def _read(self, cells: Sequence[Any]) -> Iterator[Cells]:
        doc, arguments, answers, of_filter, value = cells
        if self._filter is None:
            self._filter = of_filter
        if of_filter is not None and of_filter != self._filter:
            self._others[str(of_filter)[:64]] += 1
            return
        score = score_of(value)
        if score is None:
            self._unscored += 1
            return
        answer = _first_text(answers)
        tokens = round(len(answer) / CHARS_PER_TOKEN) if answer else 0
        yield _query(doc, arguments), "", self._model, score, tokens


def _metric(columns: Sequence[str], wanted: str) -> str:
    there = [name for name in columns if name not in NO_METRIC]
    if wanted and wanted not in there:
        raise InvalidInput(
            f"There is no metric {wanted!r} in the file.", f"There is: {', '.join(there)[:300]}."
        )
    if not there:
        raise InvalidInput(
            "The samples have no metric.", "Import the file as lm-evaluation-harness wrote it."
        )
    return wanted or next((name for name in PREFERRED if name in there), there[0])


def _query(doc: Any, arguments: Any) -> str:
    """Return what the model was asked: the last user message, or the whole prompt."""
    sent = _first_text(arguments)
    if sent:
        return query_of(_last_message(sent))
    if isinstance(doc, dict):
        for name in TEXTS:
            if isinstance(doc.get(name), str) and doc[name].strip():
                return query_of(doc[name])
    raise InvalidInput(
        "the question is not there.",
        "Log samples with their arguments, or with a `question` in `doc`.",
    )


def _first_text(value: Any) -> str:
    """Return the first text in nested lists and objects; objects are taken in their order."""
    waiting = [value]
    while waiting:
        its = waiting.pop()
        if isinstance(its, str):
            return its
        if isinstance(its, dict):
            its = list(its.values())
        if isinstance(its, list):
            waiting += reversed(its)
    return ""


def _last_message(sent: str) -> str:
    """Return the last user message where a chat was sent, as JSON; else the text itself."""
    if not sent.lstrip().startswith("["):
        return sent
    try:
        messages = json.loads(sent)
    except (ValueError, RecursionError):
        return sent
    of_user = [
        its["content"]
        for its in (messages if isinstance(messages, list) else [])
        if isinstance(its, dict)
        and its.get("role") == "user"
        and isinstance(its.get("content"), str)
    ]
    return of_user[-1] if of_user else sent
