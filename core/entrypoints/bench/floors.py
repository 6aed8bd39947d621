"""How often a plan that is offered lies below its quality floor in truth.

Every scenario is a small fleet (`small_fleets`) whose true qualities are known. Both models answer
the same queries, right or wrong or graded, as alike as models are on a query; what follows is the
product's own: interval per model and class, search, limits, offer. Of the plans offered two are
looked at: the cheapest, which people choose, and the one whose bound is nearest to the floor, the
most endangered. Beside them stands the same search that takes mean scores for the truth.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.domain.offer import CONFIDENCE, objections
from core.domain.plan import ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.quality import Outcome, QualityEstimate, estimate_of
from core.domain.study import Limits, Trial
from core.entrypoints.bench.small_fleets import NOW, small_fleet
from core.entrypoints.waiting import say
from core.errors import Infeasible
from core.optimize.local_search import Effort
from core.optimize.search import Search
from core.settings import Settings

ANSWERS = (30, 100, 300)
"""Scored per class, one of these."""
ALIKE = 0.5
"""Correlation between two models' luck with one query."""
PRECISION = 4.0
"""Of graded scores: a + b of their Beta distribution."""
EFFORT = Effort(evaluations=4_000)
TOLERANCE = 1e-9
CHEAPEST, NEAREST = "cheapest", "nearest to the floor"
CHOICES: dict[str, Callable[[Trial], tuple[float, str]]] = {
    CHEAPEST: lambda its: (its.score.cost_usd_per_hour, its.plan.plan_id),
    NEAREST: lambda its: (its.score.quality_lower, its.plan.plan_id),
}

Floats = NDArray[np.float64]
Known = Mapping[tuple[str, str], QualityEstimate]


@dataclass(frozen=True)
class _Scenario:
    """A problem as the optimiser sees it, and what is true.

    Attributes:
        facts: With estimated quality.
        true: Mean score per (model, class).
        answers: Scored per class.
        graded: Whether scores are graded.
    """

    facts: PlanningFacts
    true: Mapping[tuple[str, str], float]
    answers: int
    graded: bool

    @property
    def kinds(self) -> tuple[str, str]:
        """What it is counted under."""
        scores = "graded" if self.graded else "right or wrong"
        return f"{self.answers} answers per class", scores

    def quality(self, plan: ServingPlan) -> float:
        """True mean quality of a plan."""
        weight = self.facts.workload.weight
        return sum(
            weight(route.query_class) * route.share * self.true[route.model, route.query_class]
            for route in plan.routing
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how many scenarios there are."""
    parser.add_argument("--scenarios", type=int, default=200, help="random fleets")
    parser.add_argument("--seed", type=int, default=0, help="of the first scenario")


def run(parsed: argparse.Namespace, _: Settings) -> dict[str, Any]:
    """Look for a plan in every scenario, and at what it is in truth."""
    bounded, believed, kinds = [], [], []
    for number in range(parsed.scenarios):
        scenario = _scenario(parsed.seed + number)
        kinds.append(scenario.kinds)
        bounded.append(_shortfalls(scenario, scenario.facts))
        believed.append(_shortfalls(scenario, _mean_only(scenario.facts)))
        if number % 20 == 19:
            say(f"{number + 1} of {parsed.scenarios} scenarios")
    return {
        "scenarios": parsed.scenarios,
        "confidence": CONFIDENCE,
        "allowed": 1 - CONFIDENCE,
        "lower_bound": {which: _counted([its[which] for its in bounded]) for which in CHOICES},
        "mean_only": {which: _counted([its[which] for its in believed]) for which in CHOICES},
        "by_kind": {
            kind: _counted(
                [
                    its[NEAREST]
                    for its, its_kinds in zip(bounded, kinds, strict=True)
                    if kind in its_kinds
                ]
            )
            for kind in sorted({kind for its_kinds in kinds for kind in its_kinds})
        },
    }


def _scenario(seed: int) -> _Scenario:
    rng = np.random.default_rng([11, seed])
    answers, graded = int(rng.choice(ANSWERS)), bool(rng.random() < 0.5)
    facts = small_fleet(seed)
    true = {pair: estimate.mean for pair, estimate in facts.quality.items()}
    ends = [_mixed(facts, true, model) for model in ("small", "large")]
    floor = float(ends[0] + rng.uniform(0.1, 0.95) * (ends[1] - ends[0]))
    quality = {
        pair: estimate_of(outcomes, *pair, NOW)
        for pair, outcomes in _answered(true, answers, graded, rng).items()
    }
    facts = replace(facts, quality=quality, limits=Limits(quality_floor=floor))
    return _Scenario(facts, true, answers, graded)


def _mixed(facts: PlanningFacts, true: Mapping[tuple[str, str], float], model: str) -> float:
    return sum(
        facts.workload.weight(t.query_class) * true[model, t.query_class]
        for t in facts.workload.classes
    )


def _answered(
    true: Mapping[tuple[str, str], float], answers: int, graded: bool, rng: np.random.Generator
) -> dict[tuple[str, str], list[Outcome]]:
    """Draw every model's scores on the same queries of each class."""
    from scipy.special import ndtr
    from scipy.stats import beta

    found = {}
    for query_class in sorted({name for _, name in true}):
        luck = rng.normal(size=answers)
        for model in sorted({model for model, name in true if name == query_class}):
            own = rng.normal(size=answers)
            rank = ndtr(np.sqrt(ALIKE) * luck + np.sqrt(1 - ALIKE) * own)
            mean = true[model, query_class]
            shape = PRECISION * mean, PRECISION * (1 - mean)
            scores: Floats = beta.ppf(rank, *shape) if graded else (rank > 1 - mean).astype(float)
            found[model, query_class] = [
                Outcome(str(query), query_class, model, float(score), 1, "bench")
                for query, score in enumerate(scores)
            ]
    return found


def _mean_only(facts: PlanningFacts) -> PlanningFacts:
    known: Known = {pair: replace(its, lower=its.mean) for pair, its in facts.quality.items()}
    return replace(facts, quality=known)


def _shortfalls(scenario: _Scenario, facts: PlanningFacts) -> dict[str, float | None]:
    """Floor less true quality of the plans that are looked at; None when none is offered."""
    try:
        trials = Search(facts).run(0, EFFORT, lambda *_: None)
    except Infeasible:
        return dict.fromkeys(CHOICES)
    offered = [trial for trial in trials if not objections(trial.score, facts.limits)]
    if not offered:
        return dict.fromkeys(CHOICES)
    floor = facts.limits.quality_floor
    return {
        which: floor - scenario.quality(min(offered, key=rank).plan)
        for which, rank in CHOICES.items()
    }


def _counted(shortfalls: Sequence[float | None]) -> dict[str, Any]:
    """Return how many offered plans are below their floor, with a 95 % interval on the share.

    The interval is Clopper and Pearson's: exact, whatever the count.
    """
    from scipy.stats import binomtest

    known = [its for its in shortfalls if its is not None]
    below = [its for its in known if its > TOLERANCE]
    if not known:
        return {"offered": 0, "below": 0, "share": None, "interval": None, "worst": None}
    interval = binomtest(len(below), len(known)).proportion_ci(0.95, method="exact")
    return {
        "offered": len(known),
        "below": len(below),
        "share": len(below) / len(known),
        "interval": [float(interval.low), float(interval.high)],
        "worst": max(below, default=0.0),
    }


def told(result: dict[str, Any]) -> str:
    """Return the counts as text."""
    offered = result["lower_bound"][CHEAPEST]["offered"]
    lines = [
        f"{result['scenarios']} scenarios; stated confidence {result['confidence']:.0%}: at most "
        f"{result['allowed'] * offered:.0f} of {offered} offered plans may lie below their floor",
    ]
    for held, which in (("lower_bound", "lower bound"), ("mean_only", "mean score")):
        lines += ["", f"held to the {which}:"]
        lines += [_line(name, its) for name, its in result[held].items()]
    lines += ["", f"of those {NEAREST}, held to the lower bound:"]
    return "\n".join(lines + [_line(kind, its) for kind, its in result["by_kind"].items()])


def _line(name: str, its: dict[str, Any]) -> str:
    if not its["offered"]:
        return f"{name:<24} no plan was offered"
    low, high = its["interval"]
    return (
        f"{name:<24} {its['below']:>3} of {its['offered']:>3} below ({its['share']:.1%}; 95 % "
        f"interval {low:.1%} to {high:.1%}), worst by {its['worst']:.3f}"
    )
