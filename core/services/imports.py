"""Use cases of imports: measurements of other tools become profiles."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from core.domain.profile import LoadLevel, Profile
from core.estimate.derived_step import derived_step
from core.estimate.level_fit import level_fit
from core.importing.formats import ImportedProfiles, parse_many
from core.ports import UnitOfWork, UnitOfWorkFactory


def import_profiles(
    uow: UnitOfWorkFactory,
    files: Sequence[tuple[str, bytes]],
    now: datetime,
    *,
    model: str = "",
    gpu: str = "",
    tp: int = 1,
    pp: int = 1,
) -> ImportedProfiles:
    """Store the profiles in files of one tool; all of them, or none when anything is refused.

    A model that is registered under another name than the files use is recognised by the path or
    Hugging Face id it was registered with. A profile with several lengths per load gets a
    step-time model, because its levels are no single curve.

    Args:
        files: Names and contents.
        model: Name to import under; may be empty when the files say it.
        gpu: Device type, likewise.
        tp: Tensor-parallel ranks, where a file does not say.
        pp: Pipeline-parallel ranks, likewise.

    Raises:
        InvalidInput: A file cannot be used; says where and what to do.
    """
    parsed = parse_many(files, now=now, model=model, gpu=gpu, tp=tp, pp=pp)
    notes = list(parsed.notes)
    with uow() as work:
        renamed = _registered(work, parsed.profiles, notes)
        complete = tuple(_with_step(profile, notes) for profile in renamed)
        for profile in complete:
            work.profiles.save(profile)
        work.commit()
    return replace(parsed, profiles=complete, notes=tuple(dict.fromkeys(notes)))


def _registered(
    work: UnitOfWork, profiles: Sequence[Profile], notes: list[str]
) -> tuple[Profile, ...]:
    """Rename models that the catalogue knows by path, and say which it does not know at all."""
    models = work.models.all()
    names = {spec.name for spec in models}
    by_path = {spec.path: spec.name for spec in models}
    renamed = []
    for profile in profiles:
        name = profile.model
        if name not in names and name in by_path:
            name = by_path[name]
            notes.append(f"{profile.model!r} is registered as {name!r}.")
        elif name not in names:
            notes.append(f"No model {name!r} is registered; plans can use it once it is.")
        renamed.append(replace(profile, model=name))
    return tuple(renamed)


def _with_step(profile: Profile, notes: list[str]) -> Profile:
    if profile.step is not None or not _several_lengths(profile.levels):
        return profile
    step = derived_step(profile, max(level.concurrency for level in profile.levels))
    fit, relative_error = level_fit(step, profile.levels)
    notes.append(
        f"{profile.model} on {profile.sku}: a step-time model is fitted to all lengths; it gives "
        f"E2E within {fit.e2e_median_error:.0%}, TTFT within {fit.ttft_median_error:.0%} (median)."
    )
    return replace(profile, step=step, fit=fit, relative_error=relative_error)


def _several_lengths(levels: Sequence[LoadLevel]) -> bool:
    """Whether one load was measured with more than one pair of lengths."""
    loads = [(level.concurrency, level.rate_rps) for level in levels]
    return len(set(loads)) < len(loads)
