"""From a checked scenario to what planners and simulators take."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from core.domain.cascade import CascadeEstimate
from core.domain.intervals import wilson
from core.domain.plan import ReplicaKind, ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.profile import TRUSTED_FIRST, Profile
from core.domain.quality import QualityEstimate
from core.domain.study import Limits
from core.domain.trace import Trace
from core.domain.workload import ClassTraffic, Workload
from core.errors import InvalidInput
from core.estimate.traffic import summarised
from core.importing.traces import parse_trace
from core.scenario.plans import plan_of
from core.scenario.profiles import read_profiles
from core.scenario.reading import FileReader
from core.scenario.schema import FleetEntry, Scenario, TraceFile, WorkloadSection
from core.scenario.schema_quality import CascadeEntry, QualityEntry
from core.scenario.values import moment, values

WORKLOAD_ID = "scenario"


@dataclass(frozen=True)
class Problem:
    """A scenario, ready to be planned or simulated.

    Attributes:
        facts: What planners take.
        trace: Requests to simulate with; None when the scenario names no trace.
        plan: The scenario's plan; None when it has none.
        notes: What was left out, or read in a way that may surprise.
    """

    facts: PlanningFacts
    trace: Trace | None
    plan: ServingPlan | None
    notes: tuple[str, ...]


def problem_of(scenario: Scenario, files: FileReader, now: datetime) -> Problem:
    """Return the facts of a scenario; the files it names are read.

    Args:
        files: Opens the files named in it.
        now: Stands for moments that the scenario leaves out.

    Raises:
        InvalidInput: Sections contradict each other, or a file cannot be used.
    """
    notes: list[str] = []
    profiles = read_profiles(scenario, files, now, notes)
    workload, trace = _workload(scenario.workload, files, now, notes)
    _require_known_models(scenario, profiles)
    facts = PlanningFacts(
        workload=workload,
        limits=Limits(**scenario.constraints.model_dump()),
        profiles=_by_kind(profiles),
        quality={(e.model, e.query_class): _estimate(e, now) for e in scenario.quality},
        price_usd_per_hour=dict(scenario.prices_usd_per_hour),
        devices_per_node=_fleet(scenario.fleet),
        max_num_seqs={
            model.name: model.max_num_seqs
            for model in scenario.models
            if model.max_num_seqs is not None
        },
        cascades=tuple(map(_cascade, scenario.cascades)),
    )
    _require_prices(facts)
    _require_lengths(scenario, facts)
    notes += _left_out(facts)
    plan = plan_of(scenario.plan) if scenario.plan else None
    return Problem(facts, trace, plan, tuple(notes))


def _fleet(entries: Iterable[FleetEntry]) -> dict[str, tuple[int, ...]]:
    nodes: dict[str, tuple[int, ...]] = {}
    for entry in entries:
        more = (entry.devices_per_node,) * entry.nodes
        nodes[entry.sku] = nodes.get(entry.sku, ()) + more
    return nodes


def _by_kind(profiles: list[tuple[str, Profile]]) -> dict[ReplicaKind, Profile]:
    """Return the most trusted profile per kind; of equals the last in the file."""
    best: dict[ReplicaKind, Profile] = {}
    for _, profile in profiles:
        kind = ReplicaKind(profile.model, profile.sku, profile.tp, profile.pp)
        known = best.get(kind)
        if known is None or _trust(profile) <= _trust(known):
            best[kind] = profile
    return best


def _trust(profile: Profile) -> int:
    return TRUSTED_FIRST.index(profile.provenance)


def _cascade(entry: CascadeEntry) -> CascadeEstimate:
    lower, upper = _interval(entry)
    return CascadeEstimate(
        query_class=entry.query_class,
        model=entry.model,
        escalate_to=entry.escalate_to,
        threshold=entry.threshold,
        escalated=entry.escalated,
        n=entry.n,
        mean=entry.mean,
        lower=lower,
        upper=upper,
    )


def _interval(entry: QualityEntry | CascadeEntry) -> tuple[float, float]:
    """Return the ends that are given, or Wilson's."""
    lower, upper = wilson(entry.mean, entry.n)
    return (
        min(entry.mean, lower) if entry.lower is None else entry.lower,
        max(entry.mean, upper) if entry.upper is None else entry.upper,
    )


def _estimate(entry: QualityEntry, now: datetime) -> QualityEstimate:
    lower, upper = _interval(entry)
    return QualityEstimate(
        model=entry.model,
        query_class=entry.query_class,
        n=entry.n,
        mean=entry.mean,
        lower=lower,
        upper=upper,
        output_tokens_mean=entry.output_tokens_mean,
        measured_at=moment(entry.measured_at, now),
        metric=entry.metric,
        provenance=entry.provenance,
    )


def _workload(
    section: WorkloadSection, files: FileReader, now: datetime, notes: list[str]
) -> tuple[Workload, Trace | None]:
    trace = _trace(section.trace, files, notes) if section.trace else None
    if section.classes:
        workload = Workload(
            WORKLOAD_ID,
            section.name,
            tuple(ClassTraffic(**values(entry)) for entry in section.classes),
            section.provenance,
            now,
            burstiness=1.0,
            trace_requests=len(trace) if trace else 0,
            trace_span_s=trace.span_s if trace else 0.0,
        )
        _require_known_classes(workload, trace)
    else:
        assert trace is not None  # the schema wants one of both
        workload = summarised(trace, section.name, WORKLOAD_ID, now)
    burstiness = workload.burstiness if section.burstiness is None else section.burstiness
    return replace(
        workload,
        burstiness=burstiness,
        source=section.source or workload.source,
        provenance=section.provenance,
    ), trace


def _trace(entry: TraceFile, files: FileReader, notes: list[str]) -> Trace:
    content = files(entry.file)
    try:
        imported = parse_trace(content, entry.file, default_class=entry.default_class)
    except InvalidInput as error:
        raise InvalidInput(f"workload.trace.file: {error.message}", error.hint) from error
    notes += [f"{entry.file}: {note}" for note in imported.notes]
    return imported.trace


def _require_known_classes(workload: Workload, trace: Trace | None) -> None:
    described = {traffic.query_class for traffic in workload.classes}
    unknown = sorted(set(trace.classes if trace else ()) - described)
    if unknown:
        raise InvalidInput(
            f"workload.trace has the class {unknown[0]!r}, workload.classes has not.",
            "Describe every class of the trace, or leave `classes` out to take them from it.",
        )


def _require_known_models(scenario: Scenario, profiles: list[tuple[str, Profile]]) -> None:
    known = {model.name for model in scenario.models}
    named = [(where, profile.model) for where, profile in profiles]
    named += [(f"quality.{i}.model", entry.model) for i, entry in enumerate(scenario.quality)]
    for i, cascade in enumerate(scenario.cascades):
        named.append((f"cascades.{i}.model", cascade.model))
        named.append((f"cascades.{i}.escalate_to", cascade.escalate_to))
    for where, model in named:
        if model not in known:
            raise InvalidInput(
                f"{where}: the model {model!r} is not among `models`.",
                f"Known are: {', '.join(sorted(known))}.",
            )


def _require_prices(facts: PlanningFacts) -> None:
    """A device type without a price is an error, not free: cost is an objective."""
    used = {kind.sku for kind in facts.profiles} & facts.devices_per_node.keys()
    missing = sorted(used - facts.price_usd_per_hour.keys())
    if missing:
        raise InvalidInput(
            f"prices_usd_per_hour: {missing[0]!r} is in the fleet and has no price.",
            "Owned hardware costs something too: purchase / lifetime hours + power.",
        )


def _require_lengths(scenario: Scenario, facts: PlanningFacts) -> None:
    """Refuse traffic that is longer, on average, than a model serves."""
    for i, model in enumerate(scenario.models):
        for traffic in facts.workload.classes:
            tokens = traffic.input_tokens_mean + traffic.output_tokens_mean
            if model.max_model_len is not None and tokens > model.max_model_len:
                raise InvalidInput(
                    f"models.{i}.max_model_len: {model.name} serves {model.max_model_len} tokens, "
                    f"class {traffic.query_class!r} has {tokens:.0f} on average.",
                    "Raise max_model_len, or leave the model out.",
                )


def _left_out(facts: PlanningFacts) -> list[str]:
    """Say which profiles cannot be used, and why."""
    classes = [traffic.query_class for traffic in facts.workload.classes]
    notes = []
    for model in sorted({kind.model for kind in facts.profiles}):
        missing = [name for name in classes if (model, name) not in facts.quality]
        if missing:
            notes.append(f"{model} is left out: no quality for {', '.join(missing)}.")
    for sku in sorted({kind.sku for kind in facts.profiles} - facts.devices_per_node.keys()):
        notes.append(f"Profiles on {sku} are left out: the fleet has none.")
    if not facts.models:
        raise InvalidInput(
            "quality: no profiled model has an entry for every class of the workload: "
            f"{' '.join(notes)}",
            "Give each model one entry per class, or leave the class out.",
        )
    return notes
