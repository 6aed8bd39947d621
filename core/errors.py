"""Errors that reach a person: what went wrong, and what to do about it.

BOuteError
|- InvalidInput      the caller's values cannot be used
|- NotFound          no such thing
|- Conflict          the thing is in a state that forbids this
|- NotReady          something must happen first (profile, deploy, ...)
|- Infeasible        no plan meets the hard limits
|- EngineFailed      a model server did not start or died
|- EnvironmentFailed the machine lacks something (port, disk, driver)
`- Cancelled         the operator asked to stop
"""


class BOuteError(Exception):
    """Base class: a message and a hint on how to remedy it.

    Args:
        message: What went wrong, one sentence.
        hint: What the reader can do next, one sentence; may be empty.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InvalidInput(BOuteError):
    """The caller's values cannot be used."""


class NotFound(BOuteError):
    """No such thing."""


class Conflict(BOuteError):
    """The thing is in a state that forbids this."""


class NotReady(BOuteError):
    """Something else must happen first."""


class Infeasible(BOuteError):
    """No plan meets the hard limits."""


class EngineFailed(BOuteError):
    """A model server did not start, or died."""


class EnvironmentFailed(BOuteError):
    """The machine lacks something: a port, disk space, a driver."""


class Cancelled(BOuteError):
    """The operator asked to stop."""
