"""A model as judge: compares an answer with its reference, in both orders.

Pairs and both orders as in Zheng et al. 2023 (arXiv 2306.05685): judges favour the place, the
length and the style of an answer; showing each pair twice and taking a change of mind for a tie
leaves out the first of these.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from core.domain.check import Verdict
from core.domain.judge import JudgeEndpoint
from core.errors import EngineFailed, InvalidInput
from core.profiling.client import Answer, ask

MAX_TOKENS = 512
TIMEOUT_S = 120.0
TRIES = 4
PAUSE_S = 1.0
MOST_CHARS = 24_000
"""Of each text in a prompt; longer ones are cut, and the prompt says so."""
VERDICT = re.compile(r"\[\[([ABC])\]\]")
PROMPT = """Compare two answers to a question. Say which one answers it better: right before \
complete, complete before well written. Neither the order nor the length of the answers counts.

[Question]
{question}

[Answer A]
{first}
[End of answer A]

[Answer B]
{second}
[End of answer B]

Give a reason in at most two sentences. Then end with exactly one of these lines:
[[A]] if answer A is better
[[B]] if answer B is better
[[C]] if neither is
"""


@dataclass(frozen=True, slots=True)
class Judged:
    """What a judge said of one pair.

    Attributes:
        first: Verdict with the answer shown first.
        second: Verdict with the reference shown first.
        input_tokens, output_tokens: Of both calls.
    """

    first: Verdict
    second: Verdict
    input_tokens: int
    output_tokens: int


class Judge:
    """Asks a judge; an async context manager.

    Args:
        endpoint: Where it is.
        key: Bearer key; empty sends none. It is in no message and no record.
        pause_s: First pause before a failed call is tried again; doubles each time.

    Raises:
        InvalidInput: The key would leave this host unencrypted.
    """

    def __init__(self, endpoint: JudgeEndpoint, key: str = "", pause_s: float = PAUSE_S) -> None:
        if key and not endpoint.keeps_secrets:
            raise InvalidInput(
                "The judge's key would be sent unencrypted.",
                "Give an https:// address, or unset BOUTE_JUDGE_API_KEY if the judge needs none.",
            )
        self._endpoint = endpoint
        self._key = key
        self._pause_s = pause_s

    async def __aenter__(self) -> "Judge":
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._session = aiohttp.ClientSession(
            headers=headers, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), trust_env=True
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def compare(self, question: str, answer: str, reference: str) -> Judged:
        """Compare an answer with a reference, in both orders.

        Raises:
            EngineFailed: The judge does not answer, however often it is asked.
        """
        said = [
            await self._say(prompt(question, *pair))
            for pair in ((answer, reference), (reference, answer))
        ]
        return Judged(
            first=verdict(said[0].text, Verdict.ANSWER, Verdict.REFERENCE),
            second=verdict(said[1].text, Verdict.REFERENCE, Verdict.ANSWER),
            input_tokens=sum(its.input_tokens for its in said),
            output_tokens=sum(its.output_tokens for its in said),
        )

    async def compare_all(self, triples: Sequence[tuple[str, str, str]]) -> list[Judged]:
        """Compare several (question, answer, reference) at a time."""
        return list(await asyncio.gather(*(self.compare(*triple) for triple in triples)))

    async def _say(self, text: str) -> Answer:
        for attempt in range(TRIES):
            said = await ask(
                self._session, self._endpoint.root, self._endpoint.model, text, MAX_TOKENS
            )
            if not said.error:
                return said
            if not said.transient or attempt == TRIES - 1:
                break
            await asyncio.sleep(self._pause_s * 2**attempt)
        told = said.error.replace(self._key, "***") if self._key else said.error
        raise EngineFailed(
            f"The judge does not answer: {told}",
            "Check its address, its model and BOUTE_JUDGE_API_KEY; then retry. What was judged "
            "is kept.",
        )


def prompt(question: str, first: str, second: str) -> str:
    """Return what the judge is asked."""
    texts = {"question": question, "first": first, "second": second}
    # One pass over the template: an answer that holds "{second}" stays as it is.
    return PROMPT.format(**{name: _cut(text) for name, text in texts.items()})


def verdict(said: str, of_a: Verdict, of_b: Verdict) -> Verdict:
    """Return what the judge's last word means."""
    found = VERDICT.findall(said)
    if not found:
        return Verdict.UNREADABLE
    return {"A": of_a, "B": of_b, "C": Verdict.TIE}[found[-1]]


def _cut(text: str) -> str:
    if len(text) <= MOST_CHARS:
        return text
    return f"{text[: MOST_CHARS // 2]}\n[... cut ...]\n{text[-(MOST_CHARS // 2) :]}"
