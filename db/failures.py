"""Database errors in words that say what to do."""

from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError, ProgrammingError

from core.errors import BOuteError, Conflict, EnvironmentFailed

# What the cause says -> (message, hint). SQLite and PostgreSQL word the same trouble differently.
KNOWN = {
    "no such table": ("The database has no tables yet.", "Run `boute migrate`."),
    "does not exist": ("The database lacks a table or column.", "Run `boute migrate`."),
    "no such column": ("The database is of an older version.", "Run `boute migrate`."),
    "disk is full": ("The disk that holds the database is full.", "Free some space."),
    "no space left": ("The disk that holds the database is full.", "Free some space."),
    "readonly": ("The database may only be read.", "Give this user the right to write its file."),
    "unable to open": ("The database file cannot be opened.", "Check BOUTE_HOME and its rights."),
    "not a database": ("The file is not a BOute database.", "Name another in BOUTE_DATABASE_URL."),
    "malformed": ("The database file is damaged.", "Restore it from a backup."),
    "is locked": (
        "The database is locked by another program.",
        "Close what holds it open, such as a database browser with an open transaction.",
    ),
}


def in_words(error: DatabaseError) -> BOuteError | None:
    """Return what to tell a person; None where only a traceback helps (a fault of ours)."""
    cause = next(iter(str(error.orig).strip().splitlines()), "no reason given")
    if isinstance(error, IntegrityError):
        return Conflict(f"The database refused a row: {cause}.", "It may be there already.")
    for text, (message, hint) in KNOWN.items():
        if text in cause.lower():
            return EnvironmentFailed(message, hint)
    if isinstance(error, OperationalError) and not isinstance(error, ProgrammingError):
        return EnvironmentFailed(
            f"The database does not answer: {cause}.",
            "Is it running, and does BOUTE_DATABASE_URL name it?",
        )
    return None
