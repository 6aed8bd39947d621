"""`boute import outcomes FILE`: take in answers that others scored."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.domain.ids import utc_now
from core.errors import InvalidInput
from core.importing.outcomes import Given
from core.services.outcomes import TakenIn, import_outcomes
from core.settings import Settings
from db.migrate import upgrade
from db.unit_of_work import uow_factory


def import_files(settings: Settings, files: Sequence[Path], given: Given, *, as_json: bool) -> int:
    """Import files one by one and say what was understood; needs no running controller.

    Raises:
        InvalidInput: A file cannot be read or used; files before it are stored.
    """
    upgrade(settings.database_url)
    uow = uow_factory(settings.database_url)
    told = []
    for file in files:
        taken = import_outcomes(uow, file.name, _content(file), utc_now(), given)
        told.append(_described(file, taken))
        if not as_json:
            print("\n".join(_in_words(file, taken)))
    if as_json:
        print(json.dumps({"files": told}, indent=2))
    return 0


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        raise InvalidInput(f"{file} cannot be read: {reason}.", "Check its path.") from error


def _described(file: Path, taken: TakenIn) -> dict[str, Any]:
    found = taken.found
    return {
        "file": file.name,
        "format": found.format,
        "metric": found.metric,
        "outcomes": len(found.outcomes),
        "quality": [
            {
                "model": its.model,
                "query_class": its.query_class,
                "n": its.n,
                "mean": its.mean,
                "lower": its.lower,
                "upper": its.upper,
            }
            for its in taken.estimates
        ],
        "notes": list(taken.notes),
    }


def _in_words(file: Path, taken: TakenIn) -> list[str]:
    found = taken.found
    lines = [f"{file.name}: {len(found.outcomes):,} scored answers ({found.format})"]
    lines += [
        f"  {its.model:<28} {its.query_class:<20} {its.metric} {its.mean:.3f} "
        f"({its.lower:.3f} to {its.upper:.3f}, {its.n:,} answers)"
        for its in taken.estimates
    ]
    return lines + [f"  - {note}" for note in taken.notes]
