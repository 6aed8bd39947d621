"""Scorers: how right an answer is, from 0 to 1, by name."""

import re
from collections.abc import Callable
from decimal import Decimal

from core.errors import NotFound
from core.quality.overlap import bleu, rouge_1, rouge_2, rouge_l, words_of_rouge

Scorer = Callable[[str, str], float]
# A minus right behind a digit is a subtraction: "7-3" holds 7 and 3.
NUMBER = re.compile(r"(?:(?<!\d)-)?\d+(?:\.\d+)?")
THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
LETTER = re.compile(r"\(?([A-Za-z])\)?[.):]?")
# Where answers say which option they choose, the surest sign first; of one sign the last counts,
# because models reason before they answer. A and I may be words: "Answer: I think".
_ALONE = r"([B-HJ-Z])(?![\w'’])|([AI])(?![\w'’])(?!\s+(?!because|since|as\b|\()[a-z])"
CHOICES = (
    re.compile(r"\\boxed\{\s*(?:\\text\{)?\s*\(?([A-Z])\)?\s*\}"),
    re.compile(rf"(?i:answer|option|choice)(?i:\s+is)?\s*[:=]?\s*\**\s*(?:\(([A-Z])\)|{_ALONE})"),
    re.compile(r"\(([A-Z])\)"),
    re.compile(r"^\s*\**([A-Z])(?:[.):]|\**\s*$)", re.MULTILINE),
)


def exact_match(answer: str, reference: str) -> float:
    """1 if both are the same text but for case and white space."""
    return float(_normalised(answer) == _normalised(reference))


def contains(answer: str, reference: str) -> float:
    """1 if the reference occurs in the answer, whatever the case and white space."""
    return float(_normalised(reference) in _normalised(answer))


def numeric(answer: str, reference: str) -> float:
    """1 if the last number in the answer equals the reference."""
    wanted = _number(reference)
    return float(wanted is not None and last_number(answer) == wanted)


def last_number(answer: str) -> Decimal | None:
    """Return the last number in a text; None without any.

    Decimal, because floats take different long numbers for the same one.
    """
    numbers = NUMBER.findall(THOUSANDS.sub("", answer))
    return Decimal(numbers[-1]) if numbers else None


def multiple_choice(answer: str, reference: str) -> float:
    """1 if the option that the answer chooses is the reference, a letter from A to Z.

    An answer that is a letter alone chooses it; else what it says last counts: `\\boxed{C}`, "the
    answer is (C)", `(C)`, or a line that is or begins with `C.`, in this order of trust. A text
    that names no option is wrong.
    """
    wanted = _letter(reference)
    return float(wanted is not None and chosen_option(answer) == wanted)


def chosen_option(answer: str) -> str | None:
    """Return the letter of the option that an answer chooses; None when it names none."""
    alone = _letter(answer)
    if alone:
        return alone
    for sign in CHOICES:
        found = sign.findall(answer)
        if found:
            return "".join(found[-1])
    return None


def _letter(text: str) -> str | None:
    found = LETTER.fullmatch(text.strip())
    return found.group(1).upper() if found else None


def _number(reference: str) -> Decimal | None:
    found = NUMBER.fullmatch(THOUSANDS.sub("", reference.strip()))
    return Decimal(found.group()) if found else None


SCORERS: dict[str, Scorer] = {
    "numeric": numeric,
    "exact_match": exact_match,
    "contains": contains,
    "multiple_choice": multiple_choice,
    "bleu": bleu,
    "rouge_1": rouge_1,
    "rouge_2": rouge_2,
    "rouge_l": rouge_l,
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
    shown = repr(reference[:40])
    if scorer_name == "numeric" and _number(reference) is None:
        return f"has the reference {shown}, which is not a number"
    if scorer_name == "multiple_choice" and _letter(reference) is None:
        return f"has the reference {shown}, which is not the letter of an option"
    if scorer_name.startswith("rouge") and not words_of_rouge(reference):
        return f"has the reference {shown}, in which ROUGE finds no word: it reads a-z and digits"
    return None


def _normalised(text: str) -> str:
    return " ".join(text.lower().split())
