"""How long the answers get that cascades accept: what an unsure one may still become."""

import math

ENOUGH = 50
"""Accepted answers from which on their longest one tells something."""
ROOM = 1.5


class AcceptedLengths:
    """The longest accepted answer per first model and query class.

    An unsure answer would be accepted after all if enough sure tokens followed. It is not waited
    for when it would have to become half as long again as any that was accepted before. That errs
    to the better model, and seldom: sure answers are never stopped, however long they get.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], tuple[int, int]] = {}

    def most(self, model: str, query_class: str, allowed: int | None) -> int | None:
        """Return how many tokens an answer may get, to judge by; None when nothing bounds it.

        Args:
            allowed: As the caller limits it; None when it does not.
        """
        count, longest = self._seen.get((model, query_class), (0, 0))
        if count < ENOUGH:
            return allowed
        likely = math.ceil(ROOM * longest)
        return likely if allowed is None else min(likely, allowed)

    def accepted(self, model: str, query_class: str, output_tokens: int) -> None:
        """Take an accepted answer into account."""
        count, longest = self._seen.get((model, query_class), (0, 0))
        self._seen[model, query_class] = count + 1, max(longest, output_tokens)
