"""Reading query sets that people upload: JSON lines, bounded and checked."""

import json
from typing import Any

from core.domain.quality import Query, QuerySet
from core.errors import InvalidInput
from core.quality.scorers import scorer

MAX_BYTES = 20 * 2**20
MAX_QUERIES = 50_000
MAX_TEXT_CHARS = 20_000
KEYS = ("text", "class", "reference")
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
    if not name.strip() or not 1 <= max_tokens <= 100_000:
        raise InvalidInput("A query set needs a name and an answer length of at least 1 token.")
    scorer(scorer_name)
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidInput("The file is not UTF-8 text.", f"Each line: {EXAMPLE}") from error
    queries = [_query(i, line) for i, line in enumerate(lines, 1) if line.strip()]
    if not 1 <= len(queries) <= MAX_QUERIES:
        raise InvalidInput(
            f"The file holds {len(queries)} queries.",
            f"1 to {MAX_QUERIES} are needed, one per line: {EXAMPLE}",
        )
    return QuerySet(name.strip(), scorer_name, max_tokens, tuple(queries))


def _query(number: int, line: str) -> Query:
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"Line {number} is not JSON.", f"Each line: {EXAMPLE}") from error
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in KEYS):
        raise InvalidInput(
            f"Line {number} lacks one of {', '.join(KEYS)} as text.", f"Each line: {EXAMPLE}"
        )
    text, query_class, reference = (row[key].strip() for key in KEYS)
    if not text or not query_class or len(text) > MAX_TEXT_CHARS or len(query_class) > 64:
        raise InvalidInput(
            f"Line {number} has an empty or overlong text or class.",
            f"Texts have up to {MAX_TEXT_CHARS} characters, classes up to 64.",
        )
    return Query(text, query_class, reference)
