"""Use cases of outcomes: taking in what others scored."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from core.domain.profile import Provenance
from core.domain.quality import Outcome, QualityEstimate, estimate_of
from core.importing.outcomes import Given, ImportedOutcomes, parse_outcomes
from core.ports import UnitOfWork, UnitOfWorkFactory
from core.services.cascades import recalibrate

ORIGIN = "import:"


@dataclass(frozen=True, slots=True)
class TakenIn:
    """What became of a file.

    Attributes:
        found: What it held.
        estimates: Quality per model and class, as far as it was stored.
        notes: The file's, and what was not stored.
    """

    found: ImportedOutcomes
    estimates: tuple[QualityEstimate, ...]
    notes: tuple[str, ...]


def import_outcomes(
    uow: UnitOfWorkFactory,
    file_name: str,
    content: bytes,
    now: datetime,
    given: Given | None = None,
) -> TakenIn:
    """Store the outcomes of a file and the quality that follows from them; all or nothing.

    The same file imported again replaces what it had brought. Quality that was measured here
    stands: an import does not replace it.

    Raises:
        InvalidInput: The file cannot be used; says where and what to do.
    """
    job_id = ORIGIN + hashlib.sha256(content).hexdigest()[:24]
    found = parse_outcomes(content, file_name, job_id, given)
    parts = _by_model_and_class(found.outcomes)
    with uow() as work:
        kept, notes = _not_measured(work, sorted(parts))
        for query_class in {its.query_class for its in work.outcomes.by_job(job_id)}:
            work.outcomes.remove_job(job_id, query_class)
        work.outcomes.add(found.outcomes)
        estimates = tuple(
            estimate_of(parts[model, name], model, name, now, Provenance.IMPORTED)
            for model, name in kept
        )
        for estimate in estimates:
            work.outcomes.save_estimate(estimate)
        recalibrate(work, found.classes)
        notes += _unregistered(work, found.models)
        work.commit()
    return TakenIn(found, estimates, (*found.notes, *notes))


def _by_model_and_class(outcomes: Sequence[Outcome]) -> dict[tuple[str, str], list[Outcome]]:
    parts: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        parts[outcome.model, outcome.query_class].append(outcome)
    return parts


def _not_measured(
    work: UnitOfWork, pairs: Sequence[tuple[str, str]]
) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the pairs of model and class that the import may speak for, and a note on others."""
    measured = {
        (its.model, its.query_class)
        for its in work.outcomes.estimates()
        if its.provenance is Provenance.MEASURED
    }
    stands = [f"{model} in {name}" for model, name in pairs if (model, name) in measured]
    notes = [f"Measured here already, and kept: {', '.join(stands)}."] if stands else []
    return [pair for pair in pairs if pair not in measured], notes


def _unregistered(work: UnitOfWork, models: Sequence[str]) -> list[str]:
    known = {model.name for model in work.models.all()}
    return [
        f"No model {name!r} is registered; plans can use it once it is."
        for name in models
        if name not in known
    ]
