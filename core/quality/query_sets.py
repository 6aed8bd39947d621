"""Reading query sets that people upload: JSON lines, bounded and checked."""

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from core.domain.quality import Query, QuerySet
from core.errors import InvalidInput
from core.quality.scorers import scorer, why_unusable

MAX_BYTES = 20 * 2**20
MAX_QUERIES = 50_000
MAX_TEXT_CHARS = 20_000
MAX_NAME_CHARS = 64
KEYS = ("text", "class", "reference")
# NUL, which PostgreSQL refuses, and halves of surrogate pairs, which are no UTF-8.
UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
EXAMPLE = '{"text": "What is 2 + 2?", "class": "easy", "reference": "4"}'


def parse_query_set(name: str, content: bytes, scorer_name: str, max_tokens: int) -> QuerySet:
    """Read a query set from JSON lines.

    Args:
        content: UTF-8 text, one object with `text`, `class` and `reference` per line.
        scorer_name: See `core.quality.scorers`.
        max_tokens: Longest answer asked for.

    Raises:
        InvalidInput: Too large, empty, or a line cannot be used; names the line.
        NotFound: There is no such scorer.
    """
    if len(content) > MAX_BYTES:
        raise InvalidInput(
            f"The file has {len(content) / 2**20:.0f} MiB.",
            f"At most {MAX_BYTES // 2**20} MiB are read; a sample of the queries is enough.",
        )
    if not _usable(name, MAX_NAME_CHARS) or not 1 <= max_tokens <= 100_000:
        raise InvalidInput(
            "A query set needs a name and an answer length of 1 to 100000 tokens.",
            f"Names have up to {MAX_NAME_CHARS} characters.",
        )
    scorer(scorer_name)
    queries = [_query(i, line, scorer_name) for i, line in _lines(content)]
    if not 1 <= len(queries) <= MAX_QUERIES:
        raise InvalidInput(
            f"The file holds {len(queries)} queries.",
            f"1 to {MAX_QUERIES} are needed, one per line: {EXAMPLE}",
        )
    return QuerySet(name.strip(), scorer_name, max_tokens, _interleaved(queries))


def _lines(content: bytes) -> list[tuple[int, str]]:
    """Return the numbered lines that are not blank."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput("The file is not UTF-8 text.", f"Each line: {EXAMPLE}") from error
    # Not splitlines(): it also splits at U+2028 and others, which JSON strings may hold.
    return [(i, line) for i, line in enumerate(text.split("\n"), 1) if line.strip()]


def _interleaved(queries: Sequence[Query]) -> tuple[Query, ...]:
    """Take one of each class in turn: load made of a part of the set has every class in it."""
    by_class: dict[str, list[Query]] = defaultdict(list)
    for query in queries:
        by_class[query.query_class].append(query)
    return tuple(q for turn in zip_longest(*by_class.values()) for q in turn if q is not None)


def _query(number: int, line: str, scorer_name: str) -> Query:
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"Line {number} is not JSON.", f"Each line: {EXAMPLE}") from error
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in KEYS):
        raise InvalidInput(
            f"Line {number} lacks one of {', '.join(KEYS)} as text.", f"Each line: {EXAMPLE}"
        )
    text, query_class, reference = (row[key].strip() for key in KEYS)
    if not _usable(text, MAX_TEXT_CHARS) or not _usable(query_class, MAX_NAME_CHARS):
        raise InvalidInput(
            f"Line {number} has an empty, overlong or unprintable text or class.",
            f"Texts have up to {MAX_TEXT_CHARS} characters, classes up to {MAX_NAME_CHARS}.",
        )
    problem = why_unusable(scorer_name, reference)
    if problem or not _usable(reference, MAX_TEXT_CHARS):
        raise InvalidInput(
            f"Line {number} {problem or 'has an overlong or unprintable reference'}.",
            f"Put the right answer there, as the scorer {scorer_name!r} reads it.",
        )
    return Query(text, query_class, reference)


def _usable(text: str, most_chars: int) -> bool:
    """Whether a text is neither empty nor too long, and databases and HTTP can carry it."""
    return len(text.strip()) > 0 and len(text) <= most_chars and not UNSTORABLE.search(text)
