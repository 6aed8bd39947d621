"""How sure a model was of an answer: the mean log-probability of its tokens."""

from collections.abc import Mapping
from typing import Any

LEAST = -1e6
"""Engines tell at worst -9999."""


class Confidence:
    """Adds up the log-probabilities in choices of OpenAI's completion formats, streamed or not.

    What is no logarithm of a probability counts as nothing; an answer without any cannot be
    judged.
    """

    def __init__(self) -> None:
        self._sum = 0.0
        self._tokens = 0

    @property
    def mean(self) -> float | None:
        """Mean token log-probability (natural logarithm, at most 0); None before any token."""
        return min(0.0, self._sum / self._tokens) if self._tokens else None

    def hopeless(self, threshold: float, most_tokens: int) -> bool:
        """Whether the mean will be below a threshold, however an answer goes on.

        No further token can raise the sum, and there are at most `most_tokens` to share it.
        """
        return self._sum < threshold * most_tokens

    def add(self, choice: Mapping[str, Any]) -> None:
        """Take a choice, or the part of one that an event of a stream holds.

        Chat has `logprobs.content[].logprob`, completions `logprobs.token_logprobs[]`.
        """
        told = choice.get("logprobs")
        if not isinstance(told, Mapping):
            return
        tokens, plain = told.get("content"), told.get("token_logprobs")
        for token in tokens if isinstance(tokens, list) else ():
            self._take(token.get("logprob") if isinstance(token, Mapping) else None)
        for value in plain if isinstance(plain, list) else ():
            self._take(value)

    def _take(self, value: object) -> None:
        if isinstance(value, int | float) and LEAST <= value < 1:  # 1e-8 happens, by rounding
            self._sum += value
            self._tokens += 1
