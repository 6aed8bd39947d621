"""MMLU-Pro questions with the outcomes of two models, and what a query of them looks like."""

import json
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.entrypoints.bench.headline_data import QUESTIONS, columns_of

MODELS = ("llama-3.1-8b-instruct", "llama-3.1-70b-instruct")
WEAK, STRONG = 0, 1

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Questions:
    """n questions.

    Attributes:
        texts: n; question and lettered options, as a model is asked.
        topics: n; the data set's category. No real query comes with one.
        groups: n; equal for questions of the same wording, whatever their options.
        right: n x 2; 1 where the weak, the strong model answered right, else 0.
    """

    texts: Sequence[str]
    topics: Sequence[str]
    groups: Integers
    right: Floats

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def gain(self) -> Floats:
        """n; 1 where only the strong model is right, -1 where only the weak one is."""
        gain: Floats = self.right[:, STRONG] - self.right[:, WEAK]
        return gain


def questions_in(folder: Path) -> Questions:
    """Read questions and outcomes.

    Raises:
        NotFound: The file is not in the folder.
    """
    outcomes = [f"correct__{model}" for model in MODELS]
    columns = ["question", "options_json", "category", *outcomes]
    asked, options, topics, *right = columns_of(folder / QUESTIONS, columns)
    plain = [" ".join(question.lower().split()) for question in asked]
    _, groups = np.unique(np.array(plain, dtype=object), return_inverse=True)
    texts = [
        "\n".join((question, *map(_lettered, string.ascii_uppercase, json.loads(its))))
        for question, its in zip(asked, options, strict=True)
    ]
    return Questions(texts, topics, groups, np.array(right, dtype=float).T)


def _lettered(letter: str, option: str) -> str:
    return f"{letter}. {option}"
