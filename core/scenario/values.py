"""Small steps from entries of a scenario to values of the domain."""

from datetime import UTC, datetime
from typing import Any

from core.scenario.section import Section


def moment(given: datetime | None, now: datetime) -> datetime:
    """Return a moment in UTC; one without a time zone is taken as UTC, none at all as now."""
    if given is None:
        return now
    return given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)


def values(entry: Section) -> dict[str, Any]:
    """Return the fields of an entry by name; entries inside it stay entries."""
    return {name: getattr(entry, name) for name in type(entry).model_fields}
