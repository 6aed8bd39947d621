"""Identifiers and clocks shared by every noun."""

import uuid
from datetime import UTC, datetime


def new_id() -> str:
    """Return a fresh, time-free identifier of 32 hexadecimal digits."""
    return uuid.uuid4().hex


def utc_now() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.now(UTC)
