"""Use cases of scenario files: write one from what is stored, take one in."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby

from core.domain.fleet import Price, price_in_force
from core.domain.ids import new_id
from core.domain.plan import ReplicaKind, ServingPlan
from core.domain.planning import PlanningFacts
from core.domain.profile import Profile, Provenance
from core.domain.study import Limits
from core.domain.workload import Workload
from core.estimate.derived_levels import derived_levels
from core.ports import UnitOfWork, UnitOfWorkFactory
from core.scenario.facts import problem_of
from core.scenario.reading import no_files, read_scenario
from core.scenario.writing import as_yaml, scenario_of
from core.services.planning import facts_of
from core.services.studies import require_study
from core.services.whatif import Change, changed_facts

NOTHING = Change()


@dataclass(frozen=True)
class ImportSummary:
    """What an import did, in sentences.

    Attributes:
        workload: The workload it stored.
        limits: The limits of the file, for a study.
        stored: What is new.
        kept: What was in the file and differs from what is known, which stays.
        missing: What must be done before everything of it can be used.
    """

    workload: Workload
    limits: Limits
    stored: tuple[str, ...]
    kept: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def in_words(self) -> str:
        """All of it as a Markdown list."""
        to_do = [f"**To do:** {line}" for line in self.missing]
        return "\n".join(f"- {line}" for line in (*self.stored, *self.kept, *to_do))


def export_scenario(
    uow: UnitOfWorkFactory,
    study_id: str,
    now: datetime,
    *,
    plan: ServingPlan | None = None,
    change: Change = NOTHING,
) -> str:
    """Return a study's problem as the text of a scenario file.

    Args:
        plan: For `boute simulate`.
        change: Applied to the facts first.

    Raises:
        NotFound: There is no such study.
        NotReady: What the study was made of is gone.
    """
    with uow() as work:
        study = require_study(work, study_id)
        facts = facts_of(work, study.workload_id, study.limits, now)
        models = work.models.all()
    changed = changed_facts(facts, change)
    return as_yaml(scenario_of(changed, name=study.name, models=models, plan=plan))


def export_workload(
    uow: UnitOfWorkFactory,
    workload_id: str,
    limits: Limits,
    now: datetime,
    trace_file: str | None = None,
) -> str:
    """Return the problem of planning for a workload as the text of a scenario file.

    Args:
        trace_file: Name of the file beside it that holds the workload's trace.

    Raises:
        NotFound: There is no such workload.
        NotReady: Devices, profiles, prices or quality estimates are missing.
    """
    with uow() as work:
        facts = facts_of(work, workload_id, limits, now)
        models = work.models.all()
    name = facts.workload.name
    return as_yaml(scenario_of(facts, name=name, models=models, trace_file=trace_file))


def import_scenario(uow: UnitOfWorkFactory, content: bytes, now: datetime) -> ImportSummary:
    """Store what a scenario file knows and this database does not.

    The workload is added. Profiles are added as imported, so that measured ones stay in front.
    Quality, and prices in force, are only filled in where there are none. Models and devices are
    never added: they must be registered, or seen by a probe.

    Raises:
        InvalidInput: The file cannot be used, or names other files.
    """
    facts = problem_of(read_scenario(content), no_files, now).facts
    workload = replace(
        facts.workload,
        workload_id=new_id(),
        provenance=Provenance.IMPORTED,
        source=facts.workload.source or "scenario file",
    )
    with uow() as work:
        work.workloads.save(workload)
        stored = [f"Workload {workload.name!r}: {len(workload.classes)} classes, added."]
        kept: list[str] = []
        stored += _store_profiles(work, facts)
        for new, old in (_store_quality(work, facts), _store_prices(work, facts, now)):
            stored += new
            kept += old
        missing = _missing(work, facts)
        work.commit()
    return ImportSummary(workload, facts.limits, tuple(stored), tuple(kept), tuple(missing))


def _store_profiles(work: UnitOfWork, facts: PlanningFacts) -> list[str]:
    known = work.profiles.all()
    lines = []
    for kind, profile in sorted(facts.profiles.items()):
        imported = _imported(profile, facts.workload)
        if any(_same(imported, other) for other in known):
            lines.append(f"Profile of {kind.label}: known already.")
            continue
        work.profiles.save(imported)
        lines.append(f"Profile of {kind.label}: added as {imported.provenance.value}.")
    return lines


def _imported(profile: Profile, workload: Workload) -> Profile:
    """Measured elsewhere is imported here; one without levels is given those of its step times."""
    measured = profile.provenance is Provenance.MEASURED
    levels = profile.levels
    if not any(level.requests for level in levels) and profile.step and profile.engine_limits:
        levels = derived_levels(profile.step, profile.engine_limits, workload)
    return replace(
        profile,
        profile_id=new_id(),
        provenance=Provenance.IMPORTED if measured else profile.provenance,
        levels=levels,
    )


def _same(one: Profile, other: Profile) -> bool:
    def content(profile: Profile) -> tuple[object, ...]:
        kind = ReplicaKind(profile.model, profile.sku, profile.tp, profile.pp)
        return kind, profile.levels, profile.step, profile.engine_limits

    return content(one) == content(other)


def _store_quality(work: UnitOfWork, facts: PlanningFacts) -> tuple[list[str], list[str]]:
    known = {(e.model, e.query_class): e for e in work.outcomes.estimates()}
    new = [estimate for key, estimate in sorted(facts.quality.items()) if key not in known]
    for estimate in new:
        work.outcomes.save_estimate(estimate)
    kept = [
        f"Quality of {model} on {name}: {known[model, name].mean:.3f} from {known[model, name].n} "
        f"scored answers is kept; the file says {estimate.mean:.3f}."
        for (model, name), estimate in sorted(facts.quality.items())
        if (model, name) in known and known[model, name].mean != estimate.mean
    ]
    of_model = {
        model: ", ".join(f"{e.query_class} {e.mean:.3f}" for e in estimates)
        for model, estimates in groupby(new, key=lambda estimate: estimate.model)
    }
    return [f"Quality of {model}: {scores}, added." for model, scores in of_model.items()], kept


def _store_prices(
    work: UnitOfWork, facts: PlanningFacts, now: datetime
) -> tuple[list[str], list[str]]:
    history, new, kept = work.prices.all(), [], []
    for sku, usd_per_hour in sorted(facts.price_usd_per_hour.items()):
        known = price_in_force(history, sku, now)
        if known is None:
            work.prices.add(Price(sku, usd_per_hour, now))
            new.append(f"Price of {sku}: ${usd_per_hour:.4g}/h, added.")
        elif known.usd_per_hour != usd_per_hour:
            kept.append(
                f"Price of {sku}: ${known.usd_per_hour:.4g}/h in force is kept; the file says "
                f"${usd_per_hour:.4g}/h."
            )
    return new, kept


def _missing(work: UnitOfWork, facts: PlanningFacts) -> list[str]:
    registered = {model.name for model in work.models.all()}
    there = {device.sku for device in work.devices.all() if device.schedulable}
    return [
        *_each(
            {kind.model for kind in facts.profiles} - registered,
            "Model {} is not registered: do so under this name on Models & profiling.",
        ),
        *_each(
            facts.devices_per_node.keys() - there,
            "This fleet has no {}: its profiles are used once a probe sees one.",
        ),
    ]


def _each(names: Iterable[str], text: str) -> list[str]:
    return [text.format(name) for name in sorted(names)]
