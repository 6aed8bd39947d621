"""General-purpose optimisers from elsewhere, each as its documentation recommends.

All of them search the unit cube behind the decoder and see three objectives. What they propose is
decoded to a valid plan first; those that can are then told the point that the plan itself stands
for, so that they learn from what really ran.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from core.domain.plan import ServingPlan
from core.domain.study import Measurement
from core.entrypoints.bench.arena import Arena, tool
from core.estimate.speed import Vector

POPULATION = 20


class Nsga2:
    """NSGA-II of pymoo: a population of 20, the first one from the predicted front."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        nsga2 = tool("pymoo.algorithms.moo.nsga2")
        problem = tool("pymoo.core.problem").Problem(
            n_var=arena.box.size, n_obj=3, xl=np.zeros(arena.box.size), xu=np.ones(arena.box.size)
        )
        first = [arena.box.unit(plan) for plan in arena.spread[:POPULATION]]
        rng = arena.rng(13)
        first += [rng.random(arena.box.size) for _ in range(POPULATION - len(first))]
        self._algorithm = nsga2.NSGA2(pop_size=POPULATION, sampling=np.array(first))
        self._algorithm.setup(problem, termination=("n_gen", 10_000), seed=arena.seed)
        self._values: list[Vector] = []
        self._generation: Any = self._algorithm.ask()

    def ask(self) -> ServingPlan:
        """Return the next individual of the generation."""
        if len(self._values) == len(self._generation):
            static = tool("pymoo.problems.static").StaticProblem
            known = static(self._algorithm.problem, F=-np.array(self._values))
            self._algorithm.evaluator.eval(known, self._generation)
            self._algorithm.tell(infills=self._generation)
            self._generation, self._values = self._algorithm.ask(), []
        unit: Vector = self._generation[len(self._values)].X
        return self._arena.box.plan(unit)

    def tell(self, plan: ServingPlan, measured: Measurement) -> None:
        """Keep what came out until the generation is complete."""
        self._values.append(self._arena.gain(measured.score))


class _Optuna:
    """A sampler of Optuna; the common first plans count as its start."""

    def __init__(self, arena: Arena, sampler: Any) -> None:
        self._arena = arena
        self._optuna = tool("optuna")
        self._optuna.logging.set_verbosity(self._optuna.logging.ERROR)
        uniform = self._optuna.distributions.FloatDistribution(0.0, 1.0)
        self._space = {f"x{i}": uniform for i in range(arena.box.size)}
        self._study = self._optuna.create_study(directions=["maximize"] * 3, sampler=sampler)
        self._asked: Any = None

    def ask(self) -> ServingPlan:
        with _quiet():
            self._asked = self._study.ask(self._space)
        return self._arena.box.plan(np.array([self._asked.params[name] for name in self._space]))

    def tell(self, plan: ServingPlan, measured: Measurement) -> None:
        """Close the trial; a plan that it did not ask for is added as a finished one."""
        values = [float(v) for v in self._arena.gain(measured.score)]
        if self._asked is None:
            unit = self._arena.box.unit(plan)
            params = dict(zip(self._space, map(float, unit), strict=True))
            trial = self._optuna.trial.create_trial(
                params=params, distributions=self._space, values=values
            )
            self._study.add_trial(trial)
        else:
            self._study.tell(self._asked, values)
            self._asked = None


def optuna_tpe(arena: Arena) -> _Optuna:
    """Return Optuna's multi-objective TPE, multivariate as its documentation advises."""
    samplers = tool("optuna").samplers
    with _quiet():
        return _Optuna(
            arena,
            samplers.TPESampler(
                seed=arena.seed, n_startup_trials=len(arena.warm), multivariate=True
            ),
        )


def optuna_gp(arena: Arena) -> _Optuna:
    """Return Optuna's Gaussian processes with logarithmic expected hypervolume improvement."""
    samplers = tool("optuna").samplers
    with _quiet():
        return _Optuna(
            arena, samplers.GPSampler(seed=arena.seed, n_startup_trials=len(arena.warm))
        )


class AxDefault:
    """Ax as its client chooses for three objectives, thresholds at the reference point."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        with _quiet():
            api = tool("ax.api.client")
            tool("ax.utils.common.logger").set_ax_logger_levels(logging.ERROR)
            ranges = tool("ax.api.configs").RangeParameterConfig
            self._names = [f"x{i}" for i in range(arena.box.size)]
            self._client = api.Client(random_seed=arena.seed)
            self._client.configure_experiment(
                [ranges(name=n, parameter_type="float", bounds=(0.0, 1.0)) for n in self._names]
            )
            self._client.configure_optimization(
                "saved, faster, better", ["saved >= 0", "faster >= 0", "better >= 0"]
            )
            self._client.configure_generation_strategy(
                initialization_budget=len(arena.warm),
                initialization_random_seed=arena.seed,
                initialize_with_center=False,
            )
        self._asked: int | None = None

    def ask(self) -> ServingPlan:
        """Return the next trial's plan."""
        with _quiet():
            ((self._asked, params),) = self._client.get_next_trials(max_trials=1).items()
        return self._arena.box.plan(np.array([params[name] for name in self._names]))

    def tell(self, plan: ServingPlan, measured: Measurement) -> None:
        """Complete the trial; a plan that it did not ask for is attached first."""
        gain = self._arena.gain(measured.score)
        values = dict(zip(("saved", "faster", "better"), map(float, gain), strict=True))
        with _quiet():
            if self._asked is None:
                unit = self._arena.box.unit(plan)
                params = dict(zip(self._names, map(float, unit), strict=True))
                self._asked = self._client.attach_trial(params)
            self._client.complete_trial(trial_index=self._asked, raw_data=values)
        self._asked = None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tools' warnings about their own innards from the reader."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
