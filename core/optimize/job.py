"""The OPTIMISE job: a study as durable steps, its state in the database after each."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from core.domain.ids import utc_now
from core.domain.job import Job
from core.domain.planning import PlanningFacts
from core.domain.study import Study, StudyState, Trial
from core.errors import BOuteError, Cancelled, NotReady
from core.estimate.telemetry import Slowdown
from core.optimize import study as live
from core.optimize.assessment import assess
from core.optimize.conclusion import Reference, StudyResult, conclude, search
from core.optimize.local_search import Effort
from core.ports import JobContext, PlanMeter
from core.services.planning import load_facts
from core.services.studies import require_study

SEARCH, FINISH, COMPARE, LIVE = "search", "finish", "compare", "live:"
LiveFactory = Callable[[JobContext, PlanningFacts], PlanMeter]


class OptimiseJob:
    """Body of `JobKind.OPTIMISE`: search, measure plans one by one, conclude.

    Trials are stored by number after every step. A step that was interrupted chooses the same
    plan again, because the choice depends on the stored trials, the seed and the number only.

    Args:
        live_factory: Makes what measures plans on real replicas; not called without live
            evaluations.
    """

    def __init__(self, live_factory: LiveFactory) -> None:
        self._live_factory = live_factory

    def steps(self, job: Job) -> list[str]:
        """Search, one step per live evaluation, finish, compare."""
        count = int(job.params.get("live_evaluations", 0))
        return [SEARCH, *(f"{LIVE}{i}" for i in range(count)), FINISH, COMPARE]

    def run(self, step: str, context: JobContext) -> dict[str, Any]:
        """Do one step; the last one returns what the study found."""
        with context.uow() as work:
            study = require_study(work, context.job.params["study_id"])
        with _telling_the_study(context, study):
            if step == SEARCH:
                return self._search(context, study)
            if step == COMPARE:
                return self._compare(context, study)
            if study.state is StudyState.INFEASIBLE:
                return {"state": study.state.value, "message": study.message}
            if step == FINISH:
                return self._finish(context, study)
            return self._measure(context, study, int(step.removeprefix(LIVE)))

    def _search(self, context: JobContext, study: Study) -> dict[str, Any]:
        if study.reference and live.count_evaluated(_trials(context, study)):
            return self._go_on(context, study)
        share = live.live_fraction(0, study.live_evaluations) if study.live_evaluations else 0.95
        found = search(
            _facts(context, study),
            study.seed,
            Effort(),
            lambda done, message: context.progress(done * share, message),
        )
        if found.infeasible:
            ended = replace(study, state=StudyState.INFEASIBLE, finished_at=utc_now())
            _save(context, ended, found)
        else:
            _save(context, replace(study, state=StudyState.RUNNING, finished_at=None), found)
        return {"trials": len(found.trials), "message": found.message}

    def _go_on(self, context: JobContext, study: Study) -> dict[str, Any]:
        """A retried study keeps what was measured: that took minutes of real replicas."""
        with context.uow() as work:
            work.studies.save(replace(study, state=StudyState.RUNNING, finished_at=None))
            work.commit()
        return {"message": "Going on with what was measured before."}

    def _measure(self, context: JobContext, study: Study, number: int) -> dict[str, Any]:
        trials = _trials(context, study)
        if live.count_evaluated(trials) > number:
            # Tried and stored, but the controller died before it noted the step as done.
            return {"evaluated": number}
        facts = _facts(context, study)
        meter = self._live_factory(context, facts)
        asking = live.Study(facts, seed=study.seed, trials=trials, method=study.method)
        begun = live.live_fraction(number, study.live_evaluations)
        text = f"plan {number + 1} of {study.live_evaluations}"
        context.progress(begun, f"Choosing {text} to measure")
        try:
            trial = asking.measure(meter.evaluate)
        finally:
            _save_trials(context, study, asking.trials)
        ended = (
            f"Could not measure {text}: {trial.failure}" if trial.failure else f"Measured {text}."
        )
        context.progress(begun, f"{ended} {learnt(asking.slowdowns())}".strip())
        return {"evaluated": number, "trial": trial.number, "failure": trial.failure}

    def _finish(self, context: JobContext, study: Study) -> dict[str, Any]:
        context.progress(0.97, "Drawing the front")
        trials = _trials(context, study)
        with context.uow() as work:
            trace = work.workloads.trace(study.workload_id)
        found = conclude(_facts(context, study), trials, _reference(study), trace)
        done = replace(study, state=StudyState.DONE, finished_at=utc_now())
        _save(context, done, found)
        return {"state": done.state.value, "message": found.message, "front": len(found.front)}

    def _compare(self, context: JobContext, study: Study) -> dict[str, Any]:
        """Set the result beside the baselines, or say what would make the study feasible."""
        with context.uow() as work:
            trace = work.workloads.trace(study.workload_id)
        found = assess(
            _facts(context, study),
            _trials(context, study),
            infeasible=study.state is StudyState.INFEASIBLE,
            trace=trace,
            seed=study.seed,
            on_progress=lambda done, text: context.progress(0.98 + 0.02 * done, text),
        )
        with context.uow() as work:
            work.studies.save(
                replace(study, comparisons=found.comparisons, infeasibility=found.infeasibility)
            )
            work.studies.save_trials(_owned(found.trials, study))
            work.commit()
        front = sum(trial.on_front for trial in found.trials)
        return {"state": study.state.value, "message": study.message, "front": front}


def learnt(slowdowns: Sequence[Slowdown]) -> str:
    """Say how long replicas take against their profiles: `Times against profiles: ...`."""
    told = [f"{slow.kind.label} x {np.exp(slow.log_factor):.2f}" for slow in slowdowns]
    return f"Times against profiles: {'; '.join(told)}." if told else ""


@contextmanager
def _telling_the_study(context: JobContext, study: Study) -> Iterator[None]:
    """Record in the study why its job ended, then let the error go on to the job."""
    try:
        yield
    except Cancelled as error:
        _end(context, study, StudyState.CANCELLED, error.message)
        raise
    except BOuteError as error:
        _end(context, study, StudyState.FAILED, str(error))
        raise


def _end(context: JobContext, study: Study, state: StudyState, message: str) -> None:
    with context.uow() as work:
        stored = require_study(work, study.study_id)
        work.studies.save(replace(stored, state=state, message=message, finished_at=utc_now()))
        work.commit()


def _facts(context: JobContext, study: Study) -> PlanningFacts:
    """Facts as of the study's creation for prices, as of now for everything else."""
    return load_facts(context.uow, study.workload_id, study.limits, study.created_at)


def _trials(context: JobContext, study: Study) -> list[Trial]:
    with context.uow() as work:
        return work.studies.trials(study.study_id)


def _reference(study: Study) -> Reference:
    if study.reference is None:
        raise NotReady("This study has not been searched yet.", "Retry the job.")
    return study.reference


def _save(context: JobContext, study: Study, found: StudyResult) -> None:
    with context.uow() as work:
        work.studies.save(replace(study, message=found.message, reference=found.reference))
        work.studies.save_trials(_owned(found.trials, study))
        work.commit()


def _save_trials(context: JobContext, study: Study, trials: Sequence[Trial]) -> None:
    with context.uow() as work:
        work.studies.save_trials(_owned(trials, study))
        work.commit()


def _owned(trials: Sequence[Trial], study: Study) -> list[Trial]:
    return [replace(trial, study_id=study.study_id) for trial in trials]
