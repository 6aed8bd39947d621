"""`boute demo`: the whole loop without a browser, on a database of its own.

Profile, score, optimise, deploy the cheapest plan that meets a quality floor, send fresh queries
through the gateway, and compare what was predicted with what was measured: for that plan, for
everything on the large model, and for everything on the small one.
"""

import contextlib
import json
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from core.demo.first_start import start_built_in_fleet
from core.domain.ids import utc_now
from core.domain.plan import PlanScore, ReplicaKind, ServingPlan, make_plan
from core.domain.planning import PlanningFacts
from core.domain.study import Study, StudyState, Trial
from core.entrypoints.demo_run import measure
from core.entrypoints.supervised import supervised
from core.entrypoints.supervisor import Supervisor
from core.entrypoints.up import prepare_home, product_programs
from core.entrypoints.waiting import (
    require_controller,
    say,
    wait_for_jobs,
    wait_until_active,
)
from core.errors import Infeasible
from core.estimate import AnalyticEvaluator
from core.ports import UnitOfWorkFactory
from core.services import deployments, studies
from core.services.planning import load_facts
from core.settings import Settings
from db.migrate import upgrade
from db.unit_of_work import uow_factory

START_PATIENCE_S = 60.0


def demo(settings: Settings, *, as_json: bool, queries: int, seed: int) -> int:
    """Run the loop once and print the comparison; nothing is left running.

    Raises:
        Infeasible: No plan met the quality floor.
        BOuteError: A step failed; carries its hint.
    """
    began_s = time.monotonic()
    own = _own_settings(settings)
    uow = uow_factory(own.database_url)
    with _running(own):
        require_controller(uow, START_PATIENCE_S)
        study, trial = _first_front(uow)
        facts = load_facts(uow, study.workload_id, study.limits, utc_now())
        runs = [
            _run(uow, own, name, plan, facts, queries, seed)
            for name, plan in _contenders(facts, trial)
        ]
        _tear_down(uow)
    result = {
        "seconds": round(time.monotonic() - began_s, 1),
        "queries_per_plan": queries,
        "quality_floor": study.limits.quality_floor,
        "sla_p95_e2e_s": study.limits.sla_p95_e2e_s,
        "runs": runs,
    }
    if as_json:
        json.dump(result, sys.stdout, indent=2)
        print()
    else:
        _print_table(result)
    return 0


def _own_settings(settings: Settings) -> Settings:
    """A home and ports of its own, so that a running BOute is not disturbed."""
    home = settings.home / "demo"
    shutil.rmtree(home, ignore_errors=True)
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for one in sockets:
            one.bind((settings.host, 0))
        ports = [one.getsockname()[1] for one in sockets]
    return replace(
        settings,
        home=home,
        database_url=f"sqlite:///{home / 'boute.db'}",
        gateway_port=ports[0],
        replica_ports_from=ports[1],
    )


@contextlib.contextmanager
def _running(settings: Settings) -> Iterator[None]:
    """Controller and gateway, supervised from a thread while the block runs."""
    prepare_home(settings)
    upgrade(settings.database_url)
    programs = [p for p in product_programs(settings) if p.name != "dashboard"]
    supervisor = Supervisor(programs, settings.home, settings.logs, settings.environment, say)
    with supervised(supervisor):
        yield


def _first_front(uow: UnitOfWorkFactory) -> tuple[Study, Trial]:
    """Measure and optimise; return the study and its cheapest plan."""
    group = start_built_in_fleet(uow, utc_now())
    say("Measuring and optimising (a few minutes):")
    wait_for_jobs(uow, lambda job: job.group_id == group)
    study = studies.studies(uow)[0]
    if study.state is not StudyState.DONE:
        raise Infeasible(study.message, "Lower the traffic or the floor.")
    feasible = [t for t in studies.front(uow, study.study_id) if t.score.feasible]
    within = [t for t in feasible if _meets_sla(t.score, study)] or feasible
    return study, min(within, key=lambda t: (t.score.cost_usd_per_hour, t.score.p95_e2e_s or 0.0))


def _tear_down(uow: UnitOfWorkFactory) -> None:
    """Nothing is wanted any more: whoever opens this database later starts with free devices."""
    current = deployments.current(uow)
    if current:
        deployments.stop(uow, current.deployment_id, utc_now())


def _meets_sla(score: PlanScore, study: Study) -> bool:
    sla_s = study.limits.sla_p95_e2e_s
    return sla_s is None or (score.p95_e2e_s is not None and score.p95_e2e_s <= sla_s)


def _contenders(facts: PlanningFacts, trial: Trial) -> list[tuple[str, ServingPlan]]:
    best, *_, cheapest = facts.models_by_quality
    return [
        ("boute", trial.plan),
        ("all-large", _all_on(best, facts)),
        ("all-small", _all_on(cheapest, facts)),
    ]


def _all_on(model: str, facts: PlanningFacts) -> ServingPlan:
    """Everything on one model: the fewest replicas that keep up, else the whole fleet."""
    kind = ReplicaKind(model, next(k.sku for k in facts.profiles if k.model == model))
    room = sum(facts.devices_per_node[kind.sku])
    routing = {t.query_class: {model: 1.0} for t in facts.workload.classes}
    plans = [make_plan({kind: count}, routing) for count in range(1, room + 1)]
    evaluator = AnalyticEvaluator(facts)
    limit = facts.limits.max_utilisation
    return next((p for p in plans if evaluator.evaluate(p).utilisation <= limit), plans[-1])


def _run(
    uow: UnitOfWorkFactory,
    settings: Settings,
    name: str,
    plan: ServingPlan,
    facts: PlanningFacts,
    queries: int,
    seed: int,
) -> dict[str, Any]:
    predicted = AnalyticEvaluator(facts).evaluate(plan)
    say(f"Deploying {name}: " + ", ".join(f"{p.count} x {p.kind.label}" for p in plan.placement))
    deployment = deployments.deploy_plan(uow, plan, utc_now(), predicted=predicted)
    wait_until_active(uow, deployment.deployment_id)
    measured = measure(uow, settings, facts, queries, seed)
    say(f"  measured: P95 {measured.p95_e2e_s:.3f} s, quality {measured.quality:.3f}")
    return {
        "plan": name,
        "plan_id": plan.plan_id,
        "placement": [f"{p.count} x {p.kind.label}" for p in plan.placement],
        "routing": [asdict(route) for route in plan.routing],
        "arrivals_rps": facts.workload.rate_rps,
        "predicted": asdict(predicted),
        "measured": asdict(measured),
    }


def _print_table(result: dict[str, Any]) -> None:
    print(
        f"{result['queries_per_plan']} fresh queries per plan at "
        f"{result['runs'][0]['arrivals_rps']:.1f} requests/s (Poisson), quality floor "
        f"{result['quality_floor']}, SLA P95 {result['sla_p95_e2e_s']} s; "
        f"{result['seconds']:.0f} s in all"
    )
    head = ("plan", "", "$/h", "$/1M tok", "P50 s", "P95 s", "quality", "placement")
    print("{:10} {:9} {:>7} {:>9} {:>7} {:>7} {:>8}  {}".format(*head))
    for run in result["runs"]:
        for kind in ("predicted", "measured"):
            print(_row(run, kind))


def _row(run: dict[str, Any], kind: str) -> str:
    score = run[kind]
    quality = score["quality_mean"] if kind == "predicted" else score["quality"]
    cells = [
        _number(score[key], digits)
        for key, digits in (
            ("cost_usd_per_hour", 3),
            ("cost_usd_per_million_tokens", 3),
            ("p50_e2e_s", 3),
            ("p95_e2e_s", 3),
        )
    ]
    placed = ", ".join(run["placement"])
    return "{:10} {:9} {:>7} {:>9} {:>7} {:>7} {:>8}  {}".format(
        run["plan"], kind, *cells, _number(quality, 3), placed
    )


def _number(value: float | None, digits: int) -> str:
    return "overload" if value is None else f"{value:.{digits}f}"
