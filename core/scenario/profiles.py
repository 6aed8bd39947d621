"""The profiles of a scenario: written out, in files of other tools, or estimated."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from core.domain.ids import new_id
from core.domain.profile import EngineLimits, LoadLevel, Profile, Spread, StepFit, StepTime
from core.errors import BOuteError, InvalidInput
from core.estimate.architecture import parse_shape
from core.estimate.engine import MAX_NUM_SEQS
from core.estimate.hardware import sku_facts
from core.estimate.predicted import predicted_profile
from core.estimate.roofline import Placed
from core.importing.formats import parse_profiles
from core.scenario.reading import FileReader
from core.scenario.schema import (
    EstimatedProfile,
    InlineProfile,
    LevelEntry,
    ModelEntry,
    ProfileFile,
    Scenario,
)
from core.scenario.values import moment, values

USUAL_MODEL_LEN = 4096


def read_profiles(
    scenario: Scenario, files: FileReader, now: datetime, notes: list[str]
) -> list[tuple[str, Profile]]:
    """Return each profile with the path of the entry it comes from.

    Args:
        files: Opens the files named in it.
        now: When profiles without a moment were measured.
        notes: What importers have to say is added to it.

    Raises:
        InvalidInput: A file cannot be used, or a model does not fit on its devices.
    """
    models = {model.name: model for model in scenario.models}
    found: list[tuple[str, Profile]] = []
    for number, entry in enumerate(scenario.profiles):
        where = f"profiles.{number}"
        try:
            if isinstance(entry, InlineProfile):
                found.append((where, _inline(entry, now)))
            elif isinstance(entry, EstimatedProfile):
                found.append((where, _estimated(entry, models.get(entry.model), files, now)))
            else:
                found += [(where, profile) for profile in _imported(entry, files, now, notes)]
        except BOuteError as error:
            raise InvalidInput(f"{where}: {error.message}", error.hint) from error
    return found


def _inline(entry: InlineProfile, now: datetime) -> Profile:
    """Return the profile an entry describes; its id depends on its content only."""
    content = entry.model_dump_json(exclude={"provenance", "measured_at"})
    limits = entry.engine_limits
    return Profile(
        profile_id=hashlib.sha256(content.encode()).hexdigest()[:32],
        model=entry.model,
        sku=entry.sku,
        tp=entry.tp,
        pp=entry.pp,
        provenance=entry.provenance,
        measured_at=moment(entry.measured_at, now),
        engine=entry.engine,
        host=entry.host,
        startup_s=entry.startup_s,
        levels=tuple(map(_level, entry.levels)),
        step=StepTime(**values(entry.step)) if entry.step else None,
        fit=StepFit(**values(entry.fit)) if entry.fit else None,
        engine_limits=EngineLimits(**values(limits)) if limits else None,
        relative_error=entry.relative_error,
    )


def _level(entry: LevelEntry) -> LoadLevel:
    spreads = {
        name: Spread(**values(getattr(entry, name))) for name in ("ttft_ms", "tpot_ms", "e2e_ms")
    }
    return LoadLevel(**{**values(entry), **spreads})


def _imported(
    entry: ProfileFile, files: FileReader, now: datetime, notes: list[str]
) -> Sequence[Profile]:
    imported = parse_profiles(
        files(entry.file),
        entry.file,
        model=entry.model,
        gpu=entry.sku,
        tp=entry.tp,
        pp=entry.pp,
        now=now,
    )
    notes += [f"{entry.file}: {note}" for note in imported.notes]
    return imported.profiles


def _estimated(
    entry: EstimatedProfile, model: ModelEntry | None, files: FileReader, now: datetime
) -> Profile:
    """Return the roofline's estimate, under the device type's name in the scenario."""
    try:
        config = json.loads(files(entry.config))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{entry.config!r} is not JSON.", "Give a config.json.") from error
    if not isinstance(config, dict):
        raise InvalidInput(f"{entry.config!r} is not a JSON object.", "Give a config.json.")
    profile = predicted_profile(
        entry.model,
        Placed(parse_shape(config), sku_facts(entry.sku), entry.tp, entry.pp),
        now,
        new_id(),
        max_num_seqs=(model and model.max_num_seqs) or MAX_NUM_SEQS,
        max_model_len=(model and model.max_model_len) or USUAL_MODEL_LEN,
    )
    return replace(profile, sku=entry.sku)
