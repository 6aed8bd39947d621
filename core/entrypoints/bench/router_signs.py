"""What stands behind the router's figures: time per query, what matters, what is noise."""

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from core.demo.arithmetic import QUERY_CLASSES, questions
from core.entrypoints.bench.router_questions import WEAK, Floats, Integers, Questions
from core.routing.features import COUNTED, DENSE, Sighting, sighting
from core.routing.measures import auc
from core.routing.novelty import novelty_of
from core.routing.predictor import Predictor
from core.routing.structure import PLAIN

WARM_UP = 100
OPTIONS = 6
FACTS = {
    "lengths, numbers and symbols": slice(0, COUNTED),
    "options": slice(COUNTED, COUNTED + OPTIONS),
    "style, code and mathematics": slice(COUNTED + OPTIONS, COUNTED + PLAIN),
    "kind of question": slice(COUNTED + PLAIN, DENSE),
}
FOREIGN = (
    "Напиши короткое письмо коллеге и извинись за опоздание на встречу.",
    "请用三句话总结这篇文章的主要内容，并给出你的看法。",
    "Skriv ett kort brev till hyresvärden om den trasiga värmen i lägenheten.",
    "Escribe un poema sobre la lluvia en el mercado viejo de mi pueblo.",
    "SELECT o.id, SUM(l.qty) FROM orders o JOIN lines l ON l.oid = o.id GROUP BY o.id;",
    "kubectl -n prod rollout restart deploy/api && kubectl -n prod get pods -w",
)
"""Queries of kinds that MMLU-Pro does not have."""


def latency(predictor: Predictor, texts: Sequence[str]) -> dict[str, float]:
    """Time a prediction from the text on, once per text, in one thread."""
    for text in texts[:WARM_UP]:
        predictor.scores(sighting(text))
    times = np.array([_timed(predictor, text) for text in texts])
    (p50_ms, cpu_p50_ms), (p99_ms, cpu_p99_ms) = 1000 * np.quantile(times, (0.5, 0.99), axis=0)
    return {
        "p50_ms": float(p50_ms),
        "p99_ms": float(p99_ms),
        "cpu_p50_ms": float(cpu_p50_ms),
        "cpu_p99_ms": float(cpu_p99_ms),
    }


def _timed(predictor: Predictor, text: str) -> tuple[float, float]:
    wall_s, cpu_s = time.perf_counter(), time.thread_time()
    predictor.scores(sighting(text))
    return time.perf_counter() - wall_s, time.thread_time() - cpu_s


def importance(predictor: Predictor, seen: Sequence[Sighting], right: Floats) -> dict[str, float]:
    """Return the AUC, mean over models, that is lost when features are swapped among queries."""
    others = np.random.default_rng(0).permutation(len(seen))
    whole = _mean_auc(predictor, seen, right)
    lost = {
        name: whole - _mean_auc(predictor, _with_facts_of(seen, others, part), right)
        for name, part in FACTS.items()
    }
    swapped = [
        replace(its, grams=seen[other].grams, counts=seen[other].counts)
        for its, other in zip(seen, others, strict=True)
    ]
    return lost | {"words": whole - _mean_auc(predictor, swapped, right)}


def _with_facts_of(seen: Sequence[Sighting], others: Integers, part: slice) -> list[Sighting]:
    facts = np.stack([its.facts for its in seen])
    facts[:, part] = facts[others, part]
    return [replace(its, facts=row) for its, row in zip(seen, facts, strict=True)]


def _mean_auc(predictor: Predictor, seen: Sequence[Sighting], right: Floats) -> float:
    predicted = np.array([predictor.scores(its) for its in seen])
    return float(np.mean([auc(predicted[:, m], right[:, m] > 0) for m in range(right.shape[1])]))


def repeatability(questions: Questions) -> dict[str, float]:
    """Return how outcomes correlate between questions of the same wording."""
    rows: dict[int, list[int]] = {}
    for row, group in enumerate(questions.groups.tolist()):
        rows.setdefault(group, []).append(row)
    pairs = np.array([pair for its in rows.values() for pair in combinations(its, 2)])
    both = np.concatenate([pairs, pairs[:, ::-1]])
    weak, gain = questions.right[:, WEAK], questions.gain
    return {
        "pairs": len(pairs),
        "weak": float(np.corrcoef(weak[both[:, 0]], weak[both[:, 1]])[0, 1]),
        "gain": float(np.corrcoef(gain[both[:, 0]], gain[both[:, 1]])[0, 1]),
    }


def strangeness(
    questions_known: Questions, seen: Sequence[Sighting], fold: Integers, seed: int
) -> dict[str, float]:
    """Return the shares of queries that are taken for unlike all but the first fold."""
    novelty = novelty_of([its for its, f in zip(seen, fold, strict=True) if f], seed)
    unseen = np.flatnonzero(fold == 0)
    dice = np.random.default_rng(seed)
    sums = [q.text for name in QUERY_CLASSES for q in questions(name, 100, seed)]
    kinds = {
        "unseen questions": [questions_known.texts[row] for row in unseen],
        "the same, letters shuffled": [
            _shuffled(questions_known.texts[row], dice) for row in unseen
        ],
        "sums": sums,
        "other languages and commands": FOREIGN,
    }
    return {
        kind: float(np.mean([novelty.is_new(sighting(text)) for text in texts]))
        for kind, texts in kinds.items()
    }


def _shuffled(text: str, dice: np.random.Generator) -> str:
    return " ".join("".join(dice.permutation(list(word))) for word in text.split())
