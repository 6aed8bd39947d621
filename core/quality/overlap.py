"""Scorers that count words in common, from the libraries that publications use.

BLEU: sacrebleu (Post 2018), tokenizer 13a, sentence level with effective order. ROUGE: Google's
rouge-score with the Porter stemmer, F measure. Both are loaded when they are first asked for: they
take a while, and the dashboard only names them.
"""

import re
from functools import cache
from typing import Any

ROUGE_WORD = re.compile(r"[a-z0-9]+")


def bleu(answer: str, reference: str) -> float:
    """Sentence BLEU, 0..1: n-grams up to 4 that the answer shares with the reference.

    Of texts shorter than four words, only n-grams that there are count (effective order).
    """
    score = float(_bleu().sentence_score(answer, [reference]).score)
    return min(max(score / 100, 0.0), 1.0)  # the library's 100 may be 100.00000000000004


def rouge_1(answer: str, reference: str) -> float:
    """F measure of shared words, 0..1."""
    return _rouge("rouge1", answer, reference)


def rouge_2(answer: str, reference: str) -> float:
    """F measure of shared pairs of words, 0..1."""
    return _rouge("rouge2", answer, reference)


def rouge_l(answer: str, reference: str) -> float:
    """F measure of the longest common subsequence of words, 0..1."""
    return _rouge("rougeL", answer, reference)


def words_of_rouge(text: str) -> list[str]:
    """Return the words that ROUGE sees: lower-case ASCII letters and digits, nothing else."""
    return ROUGE_WORD.findall(text.lower())


def _rouge(kind: str, answer: str, reference: str) -> float:
    measure = float(_rouge_scorer(kind).score(reference, answer)[kind].fmeasure)
    return min(max(measure, 0.0), 1.0)


@cache
def _bleu() -> Any:
    from sacrebleu.metrics.bleu import BLEU

    return BLEU(effective_order=True)


@cache
def _rouge_scorer(kind: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([kind], use_stemmer=True)
