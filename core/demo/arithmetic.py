"""Arithmetic questions in three difficulty classes, with worked answers.

Every class uses the same sentence templates, so nothing but the arithmetic itself tells an easy
question from a hard one. A completion shows its working and closes with ``Answer: N.``.
"""

import hashlib
import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

QueryClass = Literal["easy", "medium", "hard"]
QUERY_CLASSES: tuple[QueryClass, ...] = get_args(QueryClass)

PROMPT_END = "\n"
"""What follows the question's text in a raw prompt; the chat template appends it by itself."""

_TEMPLATES = (
    "What is {}?",
    "Compute {}.",
    "How much is {}?",
    "Please work out {}.",
    "Calculate {} for me.",
    "Tell me what {} is.",
    "{} = ?",
)
_WORDED_SHARE = 0.25
_SUBTRACTION_SHARE = 0.4
_HELD_OUT_ONE_IN = 5
_EXPRESSION = re.compile(r"\d+(?: (?:\+|-|plus|minus) \d+)+")
_SIGNED_TERM = re.compile(r"(\+|-|plus|minus)? ?(\d+)")
_FINAL_ANSWER = re.compile(r"Answer:\s*(-?\d+)")

Terms = tuple[int, ...]


@dataclass(frozen=True)
class Question:
    """One question with its reference answer.

    Attributes:
        text: What a user would type.
        query_class: Difficulty class the question was drawn from.
        answer: The final number, as text.
        working: The steps that a good completion shows before the final answer.
    """

    text: str
    query_class: QueryClass
    answer: str
    working: str

    @property
    def prompt(self) -> str:
        """The raw prompt for a completions endpoint."""
        return self.text + PROMPT_END

    @property
    def completion(self) -> str:
        """The completion that the models are trained to give."""
        return f"{self.working} Answer: {self.answer}."


def questions(
    query_class: QueryClass, count: int, seed: int, *, held_out: bool = True
) -> list[Question]:
    """Draws questions of one class; the same arguments always give the same questions.

    Args:
        query_class: Difficulty class to draw from.
        count: Number of questions; a small class repeats itself.
        seed: Seed of the draw.
        held_out: Draw from the questions that training never sees, else from the others.

    Returns:
        The questions in drawing order.
    """
    stream = _stream(query_class, random.Random(f"{query_class}/{held_out}/{seed}"), held_out)
    return [next(stream) for _ in range(count)]


def mixed(
    shares: Mapping[QueryClass, float], count: int, seed: int, *, held_out: bool = True
) -> list[Question]:
    """Draws questions of several classes in random order.

    Args:
        shares: Relative weight of each class.
        count: Number of questions.
        seed: Seed of the draw.
        held_out: As in `questions`.

    Returns:
        The questions in drawing order.
    """
    rng = random.Random(f"mixed/{held_out}/{seed}")
    streams = {name: _stream(name, rng, held_out) for name in shares}
    drawn = rng.choices(list(shares), weights=list(shares.values()), k=count)
    return [next(streams[name]) for name in drawn]


def reference_answer(text: str) -> str | None:
    """Computes the right answer to a question's text.

    Args:
        text: A question such as ``What is 47 + 86 minus 5?``.

    Returns:
        The answer, or None if the text holds no sum or difference.
    """
    expression = _EXPRESSION.search(text)
    if expression is None:
        return None
    parts = _SIGNED_TERM.findall(expression.group())
    return str(sum(-int(n) if sign in ("-", "minus") else int(n) for sign, n in parts))


def extract_answer(text: str) -> str | None:
    """Reads the final answer from a completion.

    Args:
        text: A model's completion.

    Returns:
        The number after the last ``Answer:``, or None if there is none.
    """
    found = _FINAL_ANSWER.findall(text)
    return str(int(found[-1])) if found else None


def is_held_out(query_class: QueryClass, terms: Terms) -> bool:
    """Tells whether a question's operands are kept away from training.

    Args:
        query_class: Difficulty class.
        terms: Signed operands in order.

    Returns:
        True for the fifth of medium and hard questions that only evaluation draws. Easy has a
        mere hundred questions, too few to hold any out, so it counts as held out *and* trained.
    """
    if query_class == "easy":
        return True
    # Sorted: 47 + 86 in training would give 86 + 47 away.
    key = ",".join(str(term) for term in sorted(terms))
    return hashlib.sha256(key.encode()).digest()[0] % _HELD_OUT_ONE_IN == 0


def _stream(query_class: QueryClass, rng: random.Random, held_out: bool) -> Iterator[Question]:
    while True:
        terms = _draw_terms(query_class, rng)
        if query_class == "easy" or is_held_out(query_class, terms) == held_out:
            yield _question(query_class, terms, rng)


def _draw_terms(query_class: QueryClass, rng: random.Random) -> Terms:
    if query_class == "easy":
        return (rng.randint(0, 9), rng.randint(0, 9))
    if query_class == "medium":
        return (rng.randint(10, 99), rng.randint(10, 99))
    terms = [rng.randint(10, 99)]
    for _ in range(rng.randint(2, 3)):
        term = rng.randint(10, 99)
        subtract = term <= sum(terms) and rng.random() < _SUBTRACTION_SHARE
        terms.append(-term if subtract else term)
    return tuple(terms)


def _question(query_class: QueryClass, terms: Terms, rng: random.Random) -> Question:
    plus, minus = ("plus", "minus") if rng.random() < _WORDED_SHARE else ("+", "-")
    rest = "".join(f" {plus if term >= 0 else minus} {abs(term)}" for term in terms[1:])
    text = rng.choice(_TEMPLATES).format(f"{terms[0]}{rest}")
    return Question(text, query_class, str(sum(terms)), _working(query_class, terms))


def _working(query_class: QueryClass, terms: Terms) -> str:
    first, second = terms[:2]
    if query_class == "easy":
        # The sum both ways round: a check, and an answer about as long as the other classes'.
        return f"{first}+{second}={first + second}, {second}+{first}={first + second}."
    if query_class == "medium":
        units = first % 10 + second % 10
        tens = f"{first // 10 * 10}+{second // 10 * 10}+{units}={first + second}"
        return f"{first % 10}+{second % 10}={units}, {tens}."
    return _running_totals(terms)


def _running_totals(terms: Terms) -> str:
    steps, total = [], terms[0]
    for term in terms[1:]:
        steps.append(f"{total}{term:+d}={total + term}")
        total += term
    return ", ".join(steps) + "."
