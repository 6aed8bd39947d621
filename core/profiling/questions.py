"""What a profile asks: a query set's queries, or synthetic ones whose lengths tell costs apart.

A step-time model has a price per prompt token and one per token of context. Queries that are all
about equally long cannot tell them from the fixed time of a step; probes can: long prompts with
answers of a few tokens, and short prompts with long answers.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from core.domain.observation import Observations
from core.domain.quality import QuerySet
from core.profiling.levels import LONG_ANSWERS, LONG_PROMPTS

SEED = 20_251
NUMBER = 100
"""Questions of a probe; asked again from the start when used up."""
VARIED = 4.0
"""Ratio of the 95th to the 5th percentile from which on lengths vary enough by themselves."""
MOST_PROMPT_TOKENS = 4096
MOST_ANSWER_TOKENS = 512
SHARE_OF_LENGTH = 0.6
"""Of the longest sequence that the model serves; the rest is room for what a text becomes."""
FEW_TOKENS = (2, 5)


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to ask.

    Attributes:
        max_tokens: Most tokens of the answer; all of them are made when `exact`.
    """

    text: str
    max_tokens: int
    exact: bool = False


def of_query_set(query_set: QuerySet) -> list[Question]:
    """Return the set's queries in an order of their own.

    Sets are often sorted by class; a level that lasts seconds would meet the first class only.
    """
    questions = [Question(query.text, query_set.max_tokens) for query in query_set.queries]
    random.Random(SEED).shuffle(questions)
    return questions


def probes_for(seen: Sequence[Observations]) -> tuple[str, ...]:
    """Return which probes are needed beside what the levels saw."""
    wanted = {
        LONG_PROMPTS: [length for load in seen for length in load.input_tokens],
        LONG_ANSWERS: [length for load in seen for length in load.output_tokens],
    }
    return tuple(probe for probe, lengths in wanted.items() if not _varied(lengths))


def of_probe(
    probe: str, questions: Sequence[Question], input_tokens: float, max_model_len: int
) -> list[Question]:
    """Make the questions of a probe out of a query set's texts.

    Args:
        input_tokens: Mean prompt length of the set, as the engine counted it.
        max_model_len: Longest sequence served, in tokens.
    """
    dice = random.Random(SEED)
    characters = sum(len(question.text) for question in questions) / len(questions)
    per_token = max(characters, 1.0) / max(input_tokens, 1.0)
    if probe == LONG_PROMPTS:
        longest = min(MOST_PROMPT_TOKENS, int(SHARE_OF_LENGTH * max_model_len)) * per_token
        together = "\n".join(question.text for question in questions) + "\n"
        endless = together * (1 + int(longest / len(together)) + 1)
        return [_piece(endless, len(together), longest, dice) for _ in range(NUMBER)]
    room = SHARE_OF_LENGTH * max_model_len - input_tokens
    longest = max(2, min(MOST_ANSWER_TOKENS, int(room)))
    return [
        Question(
            dice.choice(questions).text, dice.randint((longest + 1) // 2, longest), exact=True
        )
        for _ in range(NUMBER)
    ]


def _piece(text: str, starts: int, longest: float, dice: random.Random) -> Question:
    """Cut a prompt of a third to the whole of so many characters out of a longer text."""
    start, size = dice.randrange(starts), max(1, int(longest * dice.uniform(1 / 3, 1)))
    return Question(text[start : start + size], dice.randint(*FEW_TOKENS), exact=True)


def _varied(lengths: Sequence[int]) -> bool:
    if len(lengths) < 2:
        return False
    ranked = sorted(lengths)
    low, high = ranked[len(ranked) // 20], ranked[-1 - len(ranked) // 20]
    return high >= VARIED * max(low, 1)
