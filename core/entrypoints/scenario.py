"""Scenario files at the command line: open one, print their format, write one."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from core.domain.ids import utc_now
from core.domain.plan import Route, ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.study import Limits
from core.entrypoints.waiting import say
from core.errors import Conflict, EnvironmentFailed, NotFound
from core.scenario.facts import Problem, problem_of
from core.scenario.reading import files_beside, load_scenario
from core.scenario.schema import json_schema
from core.scenario.writing import trace_csv
from core.services import scenarios, workloads
from core.settings import Settings
from db.unit_of_work import uow_factory


def opened(path: Path, overrides: dict[str, float | None]) -> Problem:
    """Read a scenario file; say what of it cannot be used.

    Args:
        overrides: Limits to use instead of the file's, by name; None keeps the file's.

    Raises:
        InvalidInput: It is no scenario, or its sections contradict each other.
    """
    problem = problem_of(load_scenario(path), files_beside(path), utc_now())
    for note in problem.notes:
        say(note)
    given = {name: value for name, value in overrides.items() if value is not None}
    limits = replace(problem.facts.limits, **given)
    return replace(problem, facts=replace(problem.facts, limits=limits))


def print_schema() -> int:
    """Print the JSON schema of scenario files."""
    print(json.dumps(json_schema(), indent=2))
    return 0


def export(settings: Settings, workload_name: str, limits: Limits, output: Path | None) -> int:
    """Write the scenario of planning for a stored workload, with its trace beside it.

    Args:
        output: File to make; None prints the scenario, without a trace.

    Raises:
        NotFound: There is no such workload.
        Conflict: The file is there already.
        NotReady: Something was not measured yet.
    """
    uow = uow_factory(settings.database_url)
    workload = next((w for w in workloads.workloads(uow) if w.name == workload_name), None)
    if workload is None:
        names = ", ".join(repr(w.name) for w in workloads.workloads(uow)) or "none yet"
        raise NotFound(f"There is no workload {workload_name!r}.", f"Known workloads: {names}.")
    with uow() as work:
        trace = work.workloads.trace(workload.workload_id)
    trace_path = output.with_suffix(".trace.csv") if output and trace else None
    trace_name = trace_path.name if trace_path else None
    text = scenarios.export_workload(uow, workload.workload_id, limits, utc_now(), trace_name)
    if output is None:
        print(text, end="")
        return 0
    _write(output, text)
    if trace and trace_path:
        _write(trace_path, trace_csv(trace))
    return 0


def _write(path: Path, text: str) -> None:
    """Write a new file; what is there already is never replaced."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise Conflict(f"{path} is there already.", "Choose another name.") from error
    except OSError as error:
        raise EnvironmentFailed(
            f"{path} cannot be written: {error.strerror}.", "Choose another folder."
        ) from error
    say(f"Wrote {path}")


def describe_plan(plan: ServingPlan) -> dict[str, Any]:
    """Return a plan as the `plan` section of a scenario."""
    return {
        "placement": [
            {
                "model": placed.kind.model,
                "sku": placed.kind.sku,
                "tp": placed.kind.tp,
                "pp": placed.kind.pp,
                "replicas": placed.count,
            }
            for placed in plan.placement
        ],
        "routing": [describe_route(route) for route in plan.routing],
    }


def describe_route(route: Route) -> dict[str, Any]:
    """Return a route as an entry of a scenario's plan; a plain one has no threshold."""
    plain = {"query_class": route.query_class, "model": route.model, "share": route.share}
    if not route.escalate_to:
        return plain
    return {**plain, "escalate_to": route.escalate_to, "threshold": route.threshold}


def describe_profiles(facts: PlanningFacts) -> list[dict[str, Any]]:
    """Return where the profiles come from: what a prediction rests on."""
    return [
        {
            "kind": kind.label,
            "provenance": profile.provenance.value,
            "engine": profile.engine,
            "measured_at": profile.measured_at.isoformat(),
            "step_times": "given" if profile.step else "derived from the levels",
            "relative_error": profile.relative_error,
        }
        for kind, profile in sorted(facts.profiles.items())
    ]


def profiles_in_words(facts: PlanningFacts) -> str:
    """Return the same as lines for people."""
    return "\n".join(
        f"  {known['kind']}: {known['provenance']}"
        + (f", {known['engine']}" if known["engine"] else "")
        + f", step times {known['step_times']}"
        for known in describe_profiles(facts)
    )
