"""BOute, and what is left of it without one of its parts."""

from dataclasses import replace

import numpy as np

from core.domain.plan import ServingPlan
from core.domain.study import Measurement, Origin, Trial
from core.entrypoints.bench.arena import Arena
from core.optimize import Proposal, Study
from core.optimize.paper import PaperStudy


class Boute:
    """`core.optimize.Study`, asked for one plan at a time.

    Args:
        telemetry: Whether it is told what replicas report.
        learns: Whether it is told measurements; else its own predictions come back to it.
    """

    def __init__(self, arena: Arena, telemetry: bool = True, learns: bool = True) -> None:
        self._arena = arena
        self._telemetry = telemetry
        self._learns = learns
        self._trials = list(arena.catalogue)
        self._study: Study | None = None
        self._asked: Proposal | None = None

    def ask(self) -> ServingPlan:
        """Return the plan that the study proposes."""
        if self._study is None:
            self._study = Study(
                self._arena.facts, seed=self._arena.seed, trials=tuple(self._trials)
            )
        (self._asked,) = self._study.ask()
        return self._asked.plan

    def tell(self, plan: ServingPlan, measured: Measurement) -> None:
        """Tell the study; first plans are trials of a study that it goes on with."""
        if self._study is None or self._asked is None:
            self._begin_with(plan, measured)
            return
        expected = Measurement(self._asked.predicted)
        self._study.tell(self._asked, self._seen(measured) if self._learns else expected)

    def _seen(self, measured: Measurement) -> Measurement:
        return measured if self._telemetry else replace(measured, telemetry=())

    def _begin_with(self, plan: ServingPlan, measured: Measurement) -> None:
        place = next(i for i, trial in enumerate(self._trials) if trial.plan == plan)
        trial, seen = self._trials[place], self._seen(measured)
        self._trials[place] = replace(
            trial,
            measured=seen.score if self._learns else trial.predicted,
            telemetry=seen.telemetry if self._learns else (),
            evaluation=sum(t.evaluated for t in self._trials),
        )


def without_telemetry(arena: Arena) -> Boute:
    """Return BOute when replicas report nothing but each plan's score."""
    return Boute(arena, telemetry=False)


def without_learning(arena: Arena) -> Boute:
    """Return BOute that believes its catalogue, whatever is measured."""
    return Boute(arena, learns=False)


class PaperMode:
    """`core.optimize.paper`: latency against quality within the budget."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._first: list[Trial] = []
        self._study: PaperStudy | None = None
        self._asked: Proposal | None = None

    def ask(self) -> ServingPlan:
        """Return the plan that the paper's criterion picks."""
        if self._study is None:
            self._study = PaperStudy(self._arena.facts, seed=self._arena.seed, trials=self._first)
        (self._asked,) = self._study.ask()
        return self._asked.plan

    def tell(self, plan: ServingPlan, measured: Measurement) -> None:
        """Tell the study; first plans are trials that it goes on with."""
        if self._study is not None and self._asked is not None:
            self._study.tell(self._asked, measured)
            return
        number = len(self._first)
        predicted = self._arena.decoder.problem.score(plan)
        first = Trial("", number, plan, Origin.SEED, predicted, measured.score, evaluation=number)
        self._first.append(first)


class PredictedFront:
    """No surrogate: the predicted front, the plans that add most predicted volume first."""

    def __init__(self, arena: Arena) -> None:
        warm = set(arena.warm)
        others = [t.plan for t in arena.catalogue if t.predicted.feasible]
        queue = dict.fromkeys([*arena.spread, *others])
        self._queue = [plan for plan in queue if plan not in warm]
        self._random = RandomPlans(arena)

    def ask(self) -> ServingPlan:
        """Return the next plan of the front, or a random one when all were measured."""
        return self._queue.pop(0) if self._queue else self._random.ask()

    def tell(self, plan: ServingPlan, measured: Measurement) -> None:
        """Learn nothing."""


class RandomPlans:
    """Random vectors, decoded."""

    def __init__(self, arena: Arena) -> None:
        self._decoder = arena.decoder
        self._rng: np.random.Generator = arena.rng(11)

    def ask(self) -> ServingPlan:
        """Return a random valid plan."""
        return self._decoder.decode(self._decoder.encoding.random(self._rng))

    def tell(self, plan: ServingPlan, measured: Measurement) -> None:
        """Learn nothing."""
