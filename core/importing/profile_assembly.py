"""Imported load levels put together into profiles, one per (model, device type, TP, PP)."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from core.domain.ids import new_id
from core.domain.profile import EngineLimits, LoadLevel, Profile, Provenance, StepTime
from core.errors import InvalidInput

MAX_LEVELS = 20_000
MAX_NAME = 128
MAX_RANKS = 4096
DROP = 2.0
"""Throughput that falls to less than 1 / DROP of an earlier level must not come back."""


@dataclass(frozen=True, slots=True)
class Given:
    """What the operator says about the files.

    Attributes:
        model: Name to import under; empty when the file's own shall be taken.
        gpu: Device type (SKU); likewise.
        tp: Tensor-parallel ranks, where the file does not say.
        pp: Pipeline-parallel ranks, likewise.
        now: Moment of the import (UTC).
    """

    model: str
    gpu: str
    tp: int
    pp: int
    now: datetime


@dataclass(frozen=True, slots=True)
class Kind:
    """What was measured: one replica of a model."""

    model: str
    gpu: str
    tp: int
    pp: int


@dataclass(frozen=True, slots=True)
class Draft:
    """A load level with its origin.

    Attributes:
        where: The place in the file, to begin messages with.
        file_name: Of the file.
        measured_at: When (UTC).
        step: Step-time model of the whole profile, where the format yields one.
        engine_limits: The limits `step` holds within.
    """

    where: str
    file_name: str
    kind: Kind
    level: LoadLevel
    measured_at: datetime
    step: StepTime | None = None
    engine_limits: EngineLimits | None = None


def kind_of(
    given: Given,
    where: str,
    notes: list[str],
    *,
    model: str = "",
    gpu: str = "",
    tp: int | None = None,
    pp: int | None = None,
) -> Kind:
    """Return what a tool's file measured; the operator's names stand before the file's.

    Raises:
        InvalidInput: Neither says which model or which device type, or a name is unusable.
    """
    for asked, found, what in ((given.model, model, "model"), (given.gpu, gpu, "device type")):
        if asked and found and asked != found:
            notes.append(f"The file calls the {what} {found!r}; it is imported as {asked!r}.")
    return checked_kind(
        Kind(given.model or model, given.gpu or gpu, tp or given.tp, pp or given.pp), where
    )


def checked_kind(kind: Kind, where: str) -> Kind:
    """Return a kind whose names and ranks can be used.

    Raises:
        InvalidInput: They cannot.
    """
    for name, what in ((kind.model, "model"), (kind.gpu, "device type")):
        if not name:
            raise InvalidInput(
                f"{where} does not say which {what} was measured.", f"Give the {what} yourself."
            )
        if len(name) > MAX_NAME or not name.isprintable():
            raise InvalidInput(
                f"{where}: the name of the {what} cannot be used.",
                f"At most {MAX_NAME} printable characters.",
            )
    if not (1 <= kind.tp <= MAX_RANKS and 1 <= kind.pp <= MAX_RANKS):
        raise InvalidInput(
            f"{where}: TP {kind.tp} and PP {kind.pp} cannot be.",
            "Both are whole numbers from 1: devices per replica are TP x PP.",
        )
    return kind


def moment(seconds: float | None, now: datetime) -> datetime:
    """Return a time in seconds since 1970 as UTC; now if it is unknown or in the future."""
    if seconds is None or not 0 < seconds < now.timestamp():
        return now
    return datetime.fromtimestamp(seconds, UTC)


def profiles_of(drafts: Sequence[Draft], engine: str) -> tuple[Profile, ...]:
    """Put levels together and check them against each other.

    Raises:
        InvalidInput: There are none or too many, two are of the same load, or throughput
            breaks down and recovers as the load rises.
    """
    if not 0 < len(drafts) <= MAX_LEVELS:
        raise InvalidInput(
            f"{len(drafts)} measurements cannot be imported.",
            f"Between 1 and {MAX_LEVELS} are possible at once.",
        )
    groups: dict[Kind, list[Draft]] = defaultdict(list)
    for draft in drafts:
        groups[draft.kind].append(draft)
    return tuple(_profile(kind, group, engine) for kind, group in groups.items())


def _profile(kind: Kind, drafts: list[Draft], engine: str) -> Profile:
    _refuse_duplicates(drafts)
    ordered = sorted(drafts, key=_load)
    _refuse_breakdowns(ordered)
    files = list(dict.fromkeys(draft.file_name for draft in drafts))
    return Profile(
        profile_id=new_id(),
        model=kind.model,
        sku=kind.gpu,
        tp=kind.tp,
        pp=kind.pp,
        provenance=Provenance.IMPORTED,
        measured_at=max(draft.measured_at for draft in drafts),
        engine=engine,
        host=files[0] if len(files) == 1 else f"{len(files)} files",
        startup_s=0.0,
        levels=tuple(draft.level for draft in ordered),
        step=ordered[0].step,
        engine_limits=ordered[0].engine_limits,
    )


def _load(draft: Draft) -> tuple[bool, int, float, float, float]:
    """Closed loops first, then by rising load and lengths; also what makes two levels equal."""
    level = draft.level
    rate = level.rate_rps
    held = level.concurrency if rate is None else 0
    return rate is not None, held, rate or 0.0, level.input_tokens_mean, level.output_tokens_mean


def _refuse_duplicates(drafts: list[Draft]) -> None:
    first: dict[tuple[bool, int, float, float, float], Draft] = {}
    for draft in drafts:
        earlier = first.setdefault(_load(draft), draft)
        if earlier is not draft:
            raise InvalidInput(
                f"{draft.where}: the same load was given before ({earlier.where}).",
                "Keep one measurement per load and lengths, or average them.",
            )


def _refuse_breakdowns(ordered: list[Draft]) -> None:
    """Only among levels of about the same lengths, closed loops and arrival rates apart."""
    series: dict[tuple[bool, int, int], list[Draft]] = defaultdict(list)
    for draft in ordered:
        level = draft.level
        lengths = (_octave(level.input_tokens_mean), _octave(level.output_tokens_mean))
        series[(level.rate_rps is not None, *lengths)].append(draft)
    for drafts in series.values():
        _refuse_breakdown(drafts)


def _octave(tokens: float) -> int:
    return round(2 * math.log2(max(tokens, 1.0)))


def _refuse_breakdown(drafts: list[Draft]) -> None:
    best, low = 0.0, None
    for draft in drafts:
        rate = draft.level.requests_per_s
        if low is not None and rate * DROP >= best:
            raise InvalidInput(
                f"{low.where}: throughput falls from {best:.3g} to "
                f"{low.level.requests_per_s:.3g} requests/s and is back at {rate:.3g} "
                f"under a higher load ({draft.where}).",
                "A replica does not recover under more load: one of these is wrong.",
            )
        if rate * DROP < best and low is None:
            low = draft
        best = max(best, rate)
