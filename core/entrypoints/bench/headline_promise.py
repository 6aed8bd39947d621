"""Whether quality floors are kept by questions that nothing was learnt from.

A plan's quality is estimated from known questions, and its routing is the one that looks best on
them: some of that is luck. Here the questions are split anew many times into known and traffic,
routing is optimised for each floor on what is known, and what it reaches on the traffic is held
against the floor.
"""

from typing import Any

import numpy as np

from core.domain.plan import ServingPlan
from core.domain.planning import PlanningFacts
from core.entrypoints.bench.headline_settings import FLOORS, Published, Setting
from core.optimize.approaches import good_routings
from core.optimize.problem import Problem

SPLITS = 20


def promises(published: Published, setting: Setting) -> dict[str, Any]:
    """Return how often and by how much floors are kept.

    Args:
        setting: Its fleet and rate give the price of work, by which routing is optimised.

    Returns:
        "routings" tried (a floor that none is sure to reach is left out), the share "kept"
        (quality on the traffic is at least the floor), and the "mean" and the "worst" of quality
        minus floor; "error" is the standard error of one.
    """
    margins, errors = [], []
    for seed in range(SPLITS):
        split = published.split_anew(seed)
        for floor in FLOORS:
            facts = split.facts(Setting(setting.fleet, setting.rate, floor, setting.sla))
            plan = _cheapest_routing(facts)
            if plan is None:  # on so few questions no routing is sure to reach the floor
                continue
            reached, error = split.bands.realised(plan)
            margins.append(reached - facts.limits.quality_floor)
            errors.append(error)
    return {
        "routings": len(margins),
        "kept": float(np.mean(np.array(margins) >= 0)),
        "mean": float(np.mean(margins)),
        "worst": float(np.min(margins)),
        "error": float(np.mean(errors)),
    }


def _cheapest_routing(facts: PlanningFacts) -> ServingPlan | None:
    """Return the routing of least priced work at the floor, if any is sure to reach it.

    Placement does not matter here.
    """
    problem = Problem(facts)
    routings = good_routings(problem)
    if not routings:
        return None
    return problem.plan(dict.fromkeys(problem.kinds, 1), routings[0])
