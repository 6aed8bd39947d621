"""Scorers: how right an answer is, from 0 to 1, by name."""

import re
from collections.abc import Callable
from decimal import Decimal

from core.errors import NotFound

Scorer = Callable[[str, str], float]
# A minus right behind a digit is a subtraction: "7-3" holds 7 and 3.
NUMBER = re.compile(r"(?:(?<!\d)-)?\d+(?:\.\d+)?")
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


def exact_match(answer: str, reference: str) -> float:
    """1 if both are the same text but for case and white space."""
    return float(_normalised(answer) == _normalised(reference))


def contains(answer: str, reference: str) -> float:
    """1 if the reference occurs in the answer, whatever the case and white space."""
    return float(_normalised(reference) in _normalised(answer))


def numeric(answer: str, reference: str) -> float:
    """1 if the last number in the answer equals the reference."""
    numbers = NUMBER.findall(THOUSANDS.sub("", answer))
    wanted = _number(reference)
    # Decimal, because floats take different long numbers for the same one.
    return float(bool(numbers) and wanted is not None and Decimal(numbers[-1]) == wanted)


def _number(reference: str) -> Decimal | None:
    found = NUMBER.fullmatch(THOUSANDS.sub("", reference.strip()))
    return Decimal(found.group()) if found else None


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


def why_unusable(scorer_name: str, reference: str) -> str | None:
    """Say why a scorer can never find an answer right, or wrong, by this reference."""
    if not _normalised(reference):
        return "has no reference answer"
    if scorer_name == "numeric" and _number(reference) is None:
        return f"has the reference {reference[:40]!r}, which is not a number"
    return None


def _normalised(text: str) -> str:
    return " ".join(text.lower().split())
