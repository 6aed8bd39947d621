"""JSON of other tools, read within bounds; whatever is wrong is refused by file and path."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from core.errors import InvalidInput

MAX_FILE_BYTES = 20 * 2**20
MAX_DOCUMENTS = 1000
LARGEST = 1e15
"""Nothing a benchmark reports is larger; what is would be a mistake."""


@dataclass(frozen=True, slots=True)
class Node:
    """A value inside a document, and where it is.

    Attributes:
        value: As `json` gives it; None where there is nothing.
        file_name: Of the document.
        path: From the root, such as `benchmarks[0].metrics`; empty at the root.
    """

    value: Any
    file_name: str
    path: str = ""

    @property
    def where(self) -> str:
        """File and path, for messages."""
        return f"{self.file_name}: {self.path}" if self.path else self.file_name

    def has(self, *keys: str) -> bool:
        """Whether it is an object with all these keys."""
        return isinstance(self.value, dict) and all(key in self.value for key in keys)

    def get(self, *keys: str) -> "Node":
        """Go down a path; a missing step leads to nothing, not to an error."""
        node = self
        for key in keys:
            inside = node.value.get(key) if isinstance(node.value, dict) else None
            path = f"{node.path}.{key}" if node.path else key
            node = Node(inside, node.file_name, path)
        return node

    def items(self) -> "list[Node]":
        """Return the elements of a list; of anything else none."""
        values = self.value if isinstance(self.value, list) else []
        return [Node(v, self.file_name, f"{self.path}[{i}]") for i, v in enumerate(values)]

    def text(self) -> str:
        """Return a string without blanks around it; empty for anything else."""
        return self.value.strip() if isinstance(self.value, str) else ""

    def optional_number(self) -> float | None:
        """Return a number that is not negative, or None where there is nothing.

        Raises:
            InvalidInput: It is no number, negative, not finite or absurdly large.
        """
        if self.value is None:
            return None
        number = _float(self.value)
        if number is None:
            raise InvalidInput(
                f"{self.where} is {_short(self.value)}, not a number.",
                "Import the file as the tool wrote it.",
            )
        if not 0 <= number <= LARGEST:
            raise InvalidInput(
                f"{self.where} is {number:g}, which cannot be.",
                "Times, rates and counts are finite and not negative. Repeat the measurement.",
            )
        return number

    def number(self) -> float:
        """Return a number that is not negative.

        Raises:
            InvalidInput: As `optional_number`, or there is nothing.
        """
        found = self.optional_number()
        if found is None:
            raise InvalidInput(
                f"{self.where} is missing.", "Import the file as the tool wrote it."
            )
        return found

    def positive(self) -> float:
        """Return a number above zero.

        Raises:
            InvalidInput: As `number`, or it is zero.
        """
        found = self.number()
        if found == 0:
            raise InvalidInput(
                f"{self.where} is 0, so nothing was measured.",
                "Look for failed requests in the tool's own output, and repeat the measurement.",
            )
        return found


def read_text(content: bytes, file_name: str) -> str:
    """Return the text of a file in UTF-8, without a byte order mark.

    Raises:
        InvalidInput: It is too large, empty, or not UTF-8.
    """
    if len(content) > MAX_FILE_BYTES:
        raise InvalidInput(
            f"{file_name} is larger than {MAX_FILE_BYTES // 2**20} MiB.",
            "Leave single requests out of the export; only the summaries are read.",
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{file_name} is not text in UTF-8.",
            "From a spreadsheet choose 'CSV UTF-8'; from a tool its JSON export.",
        ) from error
    if not text.strip():
        raise InvalidInput(f"{file_name} is empty.", "Choose the file with the results.")
    return text


def documents(text: str, file_name: str) -> list[Node]:
    """Return the JSON documents of a text: one, several one after another, or a list of them.

    Raises:
        InvalidInput: It is not JSON, nested too deeply, or holds too many documents.
    """
    try:
        values = list(_decoded(text))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(
            f"{file_name} begins like JSON but is none: {str(error)[:200]}.",
            "Was it cut off, or edited by hand? Import the file as the tool wrote it.",
        ) from error
    if len(values) == 1 and isinstance(values[0], list):
        values = values[0]
    if len(values) > MAX_DOCUMENTS:
        raise InvalidInput(
            f"{file_name} holds {len(values)} documents.",
            f"At most {MAX_DOCUMENTS} results are read; is this a log of single requests?",
        )
    one = len(values) == 1
    return [Node(v, file_name if one else f"{file_name} #{i}") for i, v in enumerate(values, 1)]


def _decoded(text: str) -> Iterator[Any]:
    decoder, at = json.JSONDecoder(), 0
    while (at := _after_blanks(text, at)) < len(text):
        value, at = decoder.raw_decode(text, at)
        yield value


def _after_blanks(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _float(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
