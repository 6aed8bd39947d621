"""Measurements of other tools as profiles: recognised by content, checked, put together."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from core.domain.profile import Profile
from core.errors import InvalidInput
from core.importing import aiperf, guidellm, profile_csv, throughput_grid, vllm_bench
from core.importing.profile_assembly import Draft, Given, profiles_of
from core.importing.profile_json import Node, documents, read_text

MAX_FILES = 200
MAX_TOTAL_BYTES = 64 * 2**20
MAX_NOTES = 40
FILE_NAME = re.compile(r"[^\w .()\[\]+=,#@-]+")


@dataclass(frozen=True, slots=True)
class ImportedProfiles:
    """What files of one format hold.

    Attributes:
        profiles: One per (model, device type, TP, PP), provenance imported.
        format: Whose format it is, such as "vllm bench serve".
        notes: What was assumed, derived or left out, each once, for people.
    """

    profiles: tuple[Profile, ...]
    format: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Format:
    engine: str
    recognises: Callable[[Node], bool]
    read: Callable[[Node, Given, list[str]], list[Draft]]


_JSON_FORMATS = (
    _Format(vllm_bench.ENGINE, vllm_bench.recognises, vllm_bench.read),
    _Format(guidellm.ENGINE, guidellm.recognises, guidellm.read),
    _Format(aiperf.ENGINE, aiperf.recognises, aiperf.read),
    _Format(throughput_grid.ENGINE, throughput_grid.recognises, throughput_grid.read),
)


def parse_profiles(
    content: bytes,
    file_name: str,
    *,
    now: datetime,
    model: str = "",
    gpu: str = "",
    tp: int = 1,
    pp: int = 1,
) -> ImportedProfiles:
    """Return the profiles in one file; see `parse_many`."""
    return parse_many([(file_name, content)], now=now, model=model, gpu=gpu, tp=tp, pp=pp)


def parse_many(
    files: Sequence[tuple[str, bytes]],
    *,
    now: datetime,
    model: str = "",
    gpu: str = "",
    tp: int = 1,
    pp: int = 1,
) -> ImportedProfiles:
    """Return the profiles in files of one format, such as one file per concurrency.

    Args:
        files: Names, for messages only, and contents.
        now: Moment of the import (UTC); files that do not say when they were measured get it.
        model: Name to import under. A tool's file is renamed to it; a table's own column stands.
        gpu: Device type (SKU), likewise.
        tp: Tensor-parallel ranks, where a file does not say.
        pp: Pipeline-parallel ranks, likewise.

    Raises:
        InvalidInput: A file is too large, of no known format or of another one than the first,
            lacks something, or contradicts itself; says where and what to do.
    """
    _check_size(files)
    given, notes = Given(model.strip(), gpu.strip(), tp, pp, now), list[str]()
    engines, drafts = list[str](), list[Draft]()
    for number, (name, content) in enumerate(files, 1):
        file_name = FILE_NAME.sub("_", name)[-80:].strip() or f"file {number}"
        engine, found = _read(content, file_name, given, notes)
        engines.append(engine)
        drafts += found
        if engine != engines[0]:
            raise InvalidInput(
                f"{file_name} is of {engine}, the first file of {engines[0]}.",
                "Import the files of each tool on their own.",
            )
    profiles = profiles_of(drafts, engines[0])
    return ImportedProfiles(profiles, engines[0], _once(notes))


def _check_size(files: Sequence[tuple[str, bytes]]) -> None:
    if not 0 < len(files) <= MAX_FILES:
        raise InvalidInput(
            f"{len(files)} files cannot be imported.", f"Choose between 1 and {MAX_FILES} files."
        )
    total = sum(len(content) for _, content in files)
    if total > MAX_TOTAL_BYTES:
        raise InvalidInput(
            f"The files hold {total / 2**20:.0f} MiB together.",
            f"At most {MAX_TOTAL_BYTES // 2**20} MiB are read at once; import them in parts.",
        )


def _read(
    content: bytes, file_name: str, given: Given, notes: list[str]
) -> tuple[str, list[Draft]]:
    text = read_text(content, file_name)
    if text.lstrip()[:1] not in {"{", "["}:
        return profile_csv.ENGINE, _read_table(text, file_name, given, notes)
    found = documents(text, file_name)
    for known in _JSON_FORMATS:
        if found and all(known.recognises(document) for document in found):
            return known.engine, [d for node in found for d in known.read(node, given, notes)]
    raise InvalidInput(f"{file_name} is JSON, but not of a tool that is understood.", _hint(found))


def _read_table(text: str, file_name: str, given: Given, notes: list[str]) -> list[Draft]:
    if text.lstrip().startswith("Metric,"):
        raise InvalidInput(
            f"{file_name} looks like AIPerf's CSV export, which leaves out the load.",
            "Import profile_export_aiperf.json, which lies beside it.",
        )
    return profile_csv.read(text, file_name, given, notes)


def _hint(found: list[Node]) -> str:
    if found and found[0].has("metadata", "metrics"):
        return "Of AIPerf, profile_export_aiperf.json is read, not single requests."
    return (
        "vllm bench serve (--save-result), GuideLLM, AIPerf (profile_export_aiperf.json) and "
        "AIBrix throughput grids are; anything else can come as a CSV table."
    )


def _once(notes: list[str]) -> tuple[str, ...]:
    unique = list(dict.fromkeys(notes))
    if len(unique) > MAX_NOTES:
        unique = [*unique[:MAX_NOTES], f"{len(unique) - MAX_NOTES} more notes are left out."]
    return tuple(unique)
