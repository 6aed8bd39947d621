"""YAML to plain values, for text that may come from anybody: bounded, and with line numbers."""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from core.errors import InvalidInput

MAX_BYTES = 4 * 2**20
MAX_DEPTH = 20
MAX_VALUES = 200_000
"""Values after aliases are replaced by what they stand for."""
Path = tuple[str | int, ...]
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
PLAIN = {
    f"tag:yaml.org,2002:{kind}"
    for kind in ("map", "seq", "null", "bool", "int", "float", "timestamp", "str")
}
ENDS = (yaml.events.SequenceEndEvent, yaml.events.MappingEndEvent)
HINT = "See docs/scenarios.md for the format."


@dataclass
class Document:
    """Plain values, and the line where each begins.

    Attributes:
        value: Dictionaries, lists and scalars.
        lines: Line, from 1, by the path of keys and positions.
    """

    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)

    def line(self, path: Path) -> int | None:
        """Return the line of a value, or of the nearest one around it."""
        inside = (self.lines.get(path[:end]) for end in range(len(path), -1, -1))
        return next((line for line in inside if line is not None), None)


def parse_yaml(content: bytes, what: str) -> Document:
    """Parse one YAML document; aliases are allowed, tags and duplicate keys are not.

    Raises:
        InvalidInput: It is too large, too deep, not UTF-8, or not plain YAML.
    """
    if len(content) > MAX_BYTES:
        raise InvalidInput(
            f"{what} has {len(content) / 2**20:.1f} MiB, at most {MAX_BYTES // 2**20} are read.",
            "Keep traces and profiles in files of their own.",
        )
    try:
        text = content.decode("utf-8-sig")
        _require_shallow(text, what)
        root = yaml.compose(text, LOADER)
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{what} is not UTF-8 text.", "Save it as UTF-8.") from error
    except yaml.YAMLError as error:
        raise InvalidInput(f"{what} is not YAML: {_in_words(error)}.", HINT) from error
    if root is None:
        raise InvalidInput(f"{what} is empty.", HINT)
    document = Document()
    document.value = _Reader(what, document.lines).value(root, ())
    return document


def _require_shallow(text: str, what: str) -> None:
    """Look at the depth first: composing is recursive, this is not."""
    depth = 0
    for event in yaml.parse(text, LOADER):
        if isinstance(event, yaml.events.CollectionStartEvent):
            depth += 1
        elif isinstance(event, ENDS):
            depth -= 1
        if depth > MAX_DEPTH:
            raise InvalidInput(f"{what} is nested more than {MAX_DEPTH} deep.", HINT)


def _in_words(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).split("\n")[0]
    return f"{problem} (line {mark.line + 1})" if mark else str(problem)


class _Reader:
    def __init__(self, what: str, lines: dict[Path, int]) -> None:
        self._what = what
        self._lines = lines
        self._values = 0
        self._scalars = yaml.SafeLoader("")

    def value(self, node: Node, path: Path) -> Any:
        self._values += 1
        if self._values > MAX_VALUES or len(path) > MAX_DEPTH:
            raise InvalidInput(
                f"{self._what} holds too many values, or one that contains itself.",
                "Aliases count as often as they are used.",
            )
        line = node.start_mark.line + 1
        if node.tag not in PLAIN:
            raise InvalidInput(f"{self._what} has a tag {node.tag!r} (line {line}).", HINT)
        self._lines[path] = line
        if isinstance(node, MappingNode):
            return {key: self.value(child, (*path, key)) for key, child in self._entries(node)}
        if isinstance(node, SequenceNode):
            return [self.value(child, (*path, i)) for i, child in enumerate(node.value)]
        return self._scalar(node, line)

    def _entries(self, node: MappingNode) -> Iterator[tuple[str, Node]]:
        seen: set[Hashable] = set()
        for key_node, child in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode) or key_node.tag.endswith(":merge"):
                raise InvalidInput(
                    f"{self._what} has a key that is not plain text (line {line}).", HINT
                )
            if key_node.value in seen:
                raise InvalidInput(
                    f"{self._what} has the key {key_node.value!r} twice (line {line}).",
                    "Keep one of them.",
                )
            seen.add(key_node.value)
            yield key_node.value, child

    def _scalar(self, node: Node, line: int) -> Any:
        try:
            return self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            raise InvalidInput(
                f"{self._what} has a value that cannot be read: {node.value[:50]!r} "
                f"(line {line}).",
                "Put text in quotes.",
            ) from error
