"""From the facts of a planning problem to a scenario, and to its YAML text."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

import yaml
from pydantic import ValidationError

from core.domain.catalog import ModelSpec
from core.domain.plan import ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.profile import Profile
from core.domain.quality import QualityEstimate
from core.domain.trace import Trace
from core.domain.workload import Workload
from core.errors import InvalidInput
from core.scenario.reading import field_path
from core.scenario.schema import Scenario

DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
HEADER = "# A scenario of BOute, for `boute plan` and `boute simulate`; see docs/scenarios.md.\n"
WIDTH = 99


def scenario_of(
    facts: PlanningFacts,
    *,
    name: str = "",
    models: Sequence[ModelSpec] = (),
    plan: ServingPlan | None = None,
    trace_file: str | None = None,
) -> Scenario:
    """Return the scenario that states the same problem.

    Args:
        models: What is known of the models beyond the facts: their longest sequence.
        plan: For `boute simulate`.
        trace_file: Name of the file beside the scenario that holds the workload's trace.

    Raises:
        InvalidInput: A value is beyond what the format allows.
    """
    content = {
        "version": 1,
        "name": name,
        "fleet": _fleet(facts.devices_per_node),
        "prices_usd_per_hour": dict(facts.price_usd_per_hour),
        "models": _models(facts, models),
        "profiles": [_profile(facts.profiles[kind]) for kind in sorted(facts.profiles)],
        "quality": [_estimate(facts.quality[key]) for key in sorted(facts.quality)],
        "cascades": [asdict(cascade) for cascade in facts.cascades],
        "workload": _workload(facts.workload, trace_file),
        "constraints": asdict(facts.limits),
        "plan": _plan(plan) if plan else None,
    }
    try:
        return Scenario.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidInput(
            "The problem cannot be written as a scenario: "
            f"{'.'.join(map(str, field_path(first['loc'])))}: {first['msg']}.",
            "Correct the value where it is kept.",
        ) from error


def as_yaml(scenario: Scenario) -> str:
    """Return the text of a scenario file; what has its default is left out."""
    content = scenario.model_dump(mode="json", exclude_defaults=True)
    text: str = yaml.dump(
        content,
        Dumper=DUMPER,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=WIDTH,
    )
    return HEADER + text


def trace_csv(trace: Trace) -> str:
    """Return a trace as CSV text, to be stored beside a scenario file."""
    rows = zip(
        trace.arrived_at_s, trace.input_tokens, trace.output_tokens, trace.query_class, strict=True
    )
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(["arrived_at_s", "input_tokens", "output_tokens", "query_class"])
    writer.writerows((at, i, o, trace.classes[k]) for at, i, o, k in rows)
    return output.getvalue()


def _fleet(devices_per_node: Mapping[str, Iterable[int]]) -> list[dict[str, Any]]:
    """Return equal neighbours as one entry; a type without nodes stays, as none of it."""
    entries = []
    for sku, nodes in devices_per_node.items():
        runs = [(devices, len(list(equal))) for devices, equal in groupby(nodes)]
        entries += [
            {"sku": sku, "devices_per_node": devices, "nodes": count}
            for devices, count in runs or [(1, 0)]
        ]
    return entries


def _models(facts: PlanningFacts, known: Sequence[ModelSpec]) -> list[dict[str, Any]]:
    longest = {model.name: model.max_model_len for model in known}
    named = {kind.model for kind in facts.profiles} | {model for model, _ in facts.quality}
    named |= {model for c in facts.cascades for model in (c.model, c.escalate_to)}
    return [
        {
            "name": name,
            "max_num_seqs": facts.max_num_seqs.get(name),
            "max_model_len": longest.get(name),
        }
        for name in sorted(named | facts.max_num_seqs.keys())
    ]


def _profile(profile: Profile) -> dict[str, Any]:
    content = asdict(profile)
    del content["profile_id"]
    return content


def _estimate(estimate: QualityEstimate) -> dict[str, Any]:
    return asdict(estimate)


def _workload(workload: Workload, trace_file: str | None) -> dict[str, Any]:
    return {
        "name": workload.name,
        "provenance": workload.provenance,
        "source": workload.source,
        "burstiness": workload.burstiness,
        "classes": [asdict(traffic) for traffic in workload.classes],
        "trace": {"file": trace_file} if trace_file else None,
    }


def _plan(plan: ServingPlan) -> dict[str, Any]:
    return {
        "placement": [
            {**asdict(placed.kind), "replicas": placed.count} for placed in plan.placement
        ],
        "routing": [asdict(route) for route in plan.routing],
    }
