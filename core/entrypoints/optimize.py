"""`boute optimize`: enqueue a study, follow it, print its front."""

import json
import sys
from dataclasses import asdict
from typing import Any

from core.domain.ids import utc_now
from core.domain.study import Limits, Method, Study, StudyState, Trial
from core.domain.workload import Workload
from core.entrypoints.waiting import require_controller, say, wait_for_jobs
from core.errors import NotFound
from core.ports import UnitOfWorkFactory
from core.services import studies, workloads
from core.settings import Settings
from db.unit_of_work import uow_factory


def optimize(
    settings: Settings,
    workload_name: str | None,
    limits: Limits,
    live_evaluations: int,
    seed: int,
    *,
    as_json: bool,
    method: Method = Method.GREY_BOX,
) -> int:
    """Run one study on the running controller; return 2 when it is infeasible.

    Raises:
        NotFound: There is no such workload.
        NotReady: No controller runs, or something was not measured yet.
    """
    uow = uow_factory(settings.database_url)
    require_controller(uow)
    workload = _workload(uow, workload_name)
    study = studies.create_study(
        uow,
        f"{workload.name} (command line)",
        workload.workload_id,
        limits,
        utc_now(),
        live_evaluations=live_evaluations,
        seed=seed,
        method=method,
    )
    say(f"Study {study.study_id}, {live_evaluations} live evaluations")
    wait_for_jobs(uow, lambda job: job.params.get("study_id") == study.study_id)
    study = studies.study(uow, study.study_id)
    trials = studies.trials(uow, study.study_id)
    _print_json(study, trials) if as_json else _print_table(study, trials)
    return 2 if study.state is StudyState.INFEASIBLE else 0


def _workload(uow: UnitOfWorkFactory, name: str | None) -> Workload:
    known = workloads.workloads(uow)
    found = next((w for w in known if name is None or w.name == name), None)
    if found is None:
        names = ", ".join(repr(w.name) for w in known) or "none yet"
        raise NotFound(f"There is no workload {name!r}.", f"Known workloads: {names}.")
    return found


def describe_trial(trial: Trial) -> dict[str, Any]:
    """Return a trial as JSON-ready values, predicted and measured apart."""
    return {
        "number": trial.number,
        "origin": trial.origin.value,
        "on_front": trial.on_front,
        "placement": [
            {"replicas": placed.count, **asdict(placed.kind)} for placed in trial.plan.placement
        ],
        "routing": [asdict(route) for route in trial.plan.routing],
        "predicted": asdict(trial.predicted),
        "measured": asdict(trial.measured) if trial.measured else None,
    }


def _print_json(study: Study, trials: list[Trial]) -> None:
    result = {
        "study_id": study.study_id,
        "state": study.state.value,
        "message": study.message,
        "trials": [describe_trial(trial) for trial in trials],
    }
    json.dump(result, sys.stdout, indent=2)
    print()


def _print_table(study: Study, trials: list[Trial]) -> None:
    print(f"{study.state.value}. {study.message}".strip())
    print(f"{'#':>4} {'$/h':>8} {'P95 s':>8} {'quality':>8} {'>=':>6}  how known  placement")
    for trial in trials:
        if trial.on_front or trial.measured:
            print(_row(trial))


def _row(trial: Trial) -> str:
    score = trial.score
    placed = ", ".join(f"{p.count} x {p.kind.label}" for p in trial.plan.placement)
    latency = "-" if score.p95_e2e_s is None else f"{score.p95_e2e_s:.3f}"
    return (
        f"{trial.number:4d} {score.cost_usd_per_hour:8.3f} {latency:>8} {score.quality_mean:8.3f} "
        f"{score.quality_lower:6.3f}  {score.provenance.value:9s}  {placed}"
    )
