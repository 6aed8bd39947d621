"""Scorers: how right an answer is, from 0 to 1, by name."""

import re
from collections.abc import Callable

from core.errors import NotFound

Scorer = Callable[[str, str], float]
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def exact_match(answer: str, reference: str) -> float:
    """1 if both are the same text but for case and white space."""
    return float(_normalised(answer) == _normalised(reference))


def contains(answer: str, reference: str) -> float:
    """1 if the reference occurs in the answer, whatever the case and white space."""
    return float(_normalised(reference) in _normalised(answer))


def numeric(answer: str, reference: str) -> float:
    """1 if the last number in the answer equals the reference."""
    numbers = NUMBER.findall(answer.replace(",", ""))
    wanted = NUMBER.fullmatch(reference.strip().replace(",", ""))
    if not numbers or wanted is None:
        return 0.0
    return float(float(numbers[-1]) == float(wanted.group()))


SCORERS: dict[str, Scorer] = {
    "numeric": numeric,
    "exact_match": exact_match,
    "contains": contains,
}


def scorer(name: str) -> Scorer:
    """Return a scorer by name.

    Raises:
        NotFound: There is none of that name.
    """
    if name not in SCORERS:
        raise NotFound(f"There is no scorer {name!r}.", f"Choose one of {', '.join(SCORERS)}.")
    return SCORERS[name]


def _normalised(text: str) -> str:
    return " ".join(text.lower().split())
