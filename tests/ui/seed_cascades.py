"""Adds outcomes with confidences, the cascades made of them, and what the gateway saw of one."""

import random
from dataclasses import replace

from core.domain.cascade import CascadeEstimate
from core.domain.quality import Outcome
from core.ports import UnitOfWork, UnitOfWorkFactory
from core.services import cascades

QUERIES = 200
RIGHT = {"easy": 0.98, "medium": 0.64, "hard": 0.15}
LARGE_RIGHT = {"easy": 0.97, "medium": 0.95, "hard": 0.86}


def seed_cascades(uow: UnitOfWorkFactory) -> list[CascadeEstimate]:
    """Score both models as `tests.ui.seed` says they are, the small one unsure where wrong."""
    dice = random.Random(3)
    with uow() as work:
        work.outcomes.add([made for name in RIGHT for made in _outcomes(name, dice)])
        known = cascades.recalibrate(work, list(RIGHT))
        _some_requests_cascade(work, known[0], dice)
        work.commit()
    return known


def _outcomes(query_class: str, dice: random.Random) -> list[Outcome]:
    made = []
    for number in range(QUERIES):
        query = f"{query_class} question {number}"
        right = dice.random() < RIGHT[query_class]
        confidence = -dice.lognormvariate(-4 if right else -1.5, 0.9)
        large = float(dice.random() < LARGE_RIGHT[query_class])
        made += [
            Outcome(query, query_class, "small", float(right), 30, "confident", confidence),
            Outcome(query, query_class, "large", large, 30, "confident", -0.01),
        ]
    return made


def _some_requests_cascade(work: UnitOfWork, known: CascadeEstimate, dice: random.Random) -> None:
    for number, record in enumerate(work.requests.latest(40)):
        if record.status != 200:
            continue
        first = known.model if dice.random() < known.escalated else ""
        changed = replace(
            record,
            request_id=f"cascade-{number}",
            query_class=known.query_class,
            model=known.escalate_to if first else known.model,
            confidence=known.threshold * (2 if first else 0.5),
            first_model=first,
            first_input_tokens=9 if first else None,
            first_output_tokens=30 if first else None,
        )
        work.requests.add([changed])
