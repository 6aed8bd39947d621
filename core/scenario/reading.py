"""From the text of a scenario file to a checked `Scenario`."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from core.errors import InvalidInput
from core.scenario.schema import PlanSection, Scenario
from core.scenario.section import Section
from core.scenario.yaml_values import HINT, MAX_BYTES, Document, parse_yaml

SHOWN_ERRORS = 5
MAX_FILE_BYTES = 256 * 2**20
FileReader = Callable[[str], bytes]
"""Returns the content of a file that a scenario names."""
AnySection = TypeVar("AnySection", bound=Section)
UNION_TAGS = {"inline", "file", "config"}


def read_scenario(content: bytes, what: str = "The scenario") -> Scenario:
    """Check the text of a scenario file; files that it names are not opened.

    Args:
        what: Begins every message: the file's name.

    Raises:
        InvalidInput: Names each wrong field by its path and line.
    """
    return _checked(Scenario, content, what)


def load_scenario(path: Path) -> Scenario:
    """Read a scenario file.

    Raises:
        InvalidInput: It cannot be read, or is no scenario.
    """
    return read_scenario(_bytes_of(path, str(path), MAX_BYTES + 1), path.name)


def load_plan(path: Path) -> PlanSection:
    """Read a file with a plan alone: the `plan` section of a scenario, as YAML or JSON.

    Raises:
        InvalidInput: It cannot be read, or is no plan.
    """
    return _checked(PlanSection, _bytes_of(path, str(path), MAX_BYTES + 1), path.name)


def files_beside(scenario: Path) -> FileReader:
    """Return a reader of the files in a scenario file's folder, and of nothing outside it."""
    folder = scenario.resolve().parent

    def read(name: str) -> bytes:
        if "\0" in name:
            raise InvalidInput(f"{name!r} cannot be a file name.")
        path = (folder / name).resolve()
        if not path.is_relative_to(folder):
            raise InvalidInput(
                f"The file {name!r} is outside the scenario's folder.",
                "Put it beside the scenario file, and give its relative path.",
            )
        return _bytes_of(path, name, MAX_FILE_BYTES)

    return read


def no_files(name: str) -> bytes:
    """Refuse a file: a scenario that came alone has none beside it."""
    raise InvalidInput(
        f"The scenario names the file {name!r}, which did not come with it.",
        "Use the command line for scenarios with files: boute plan SCENARIO.yaml.",
    )


def _checked(kind: type[AnySection], content: bytes, what: str) -> AnySection:
    document = parse_yaml(content, what)
    if not isinstance(document.value, dict):
        raise InvalidInput(f"{what} does not consist of named sections.", HINT)
    try:
        return kind.model_validate(document.value)
    except ValidationError as error:
        raise _refusal(what, error, document) from error


def _bytes_of(path: Path, name: str, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise InvalidInput(
            f"{name!r} cannot be read: {error.strerror or 'no such file'}.",
            "Relative names are looked up beside the scenario file.",
        ) from error
    if len(content) > most:
        raise InvalidInput(f"{name!r} is larger than {most // 2**20} MiB.", "Use a part of it.")
    return content


def field_path(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Return where an error is as the file's reader sees it: without pydantic's union tags."""
    tagged = len(location) > 2 and location[0] == "profiles" and location[2] in UNION_TAGS
    return (*location[:2], *location[3:]) if tagged else location


def _refusal(what: str, error: ValidationError, document: Document) -> InvalidInput:
    found = _causes(error.errors(include_url=False, include_input=False))
    told = [_in_words(detail, document) for detail in found[:SHOWN_ERRORS]]
    if len(found) > SHOWN_ERRORS:
        told.append(f"and {len(found) - SHOWN_ERRORS} more")
    return InvalidInput(
        f"{what} cannot be used: {'; '.join(told)}.",
        "`boute scenario schema` prints the format; docs/scenarios.md explains it.",
    )


def _causes(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Leave out what only follows from another error inside the same value."""
    paths = [detail["loc"] for detail in details]
    return [
        detail for detail in details if not any(_is_inside(path, detail["loc"]) for path in paths)
    ]


def _is_inside(path: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(path) > len(outer) and path[: len(outer)] == outer


def _in_words(detail: ErrorDetails, document: Document) -> str:
    path = field_path(detail["loc"])
    line = document.line(path)
    where = ".".join(map(str, path)) or "scenario"
    message = detail["msg"].removeprefix("Value error, ")
    return f"{where} (line {line}): {message[:1].lower()}{message[1:]}"
