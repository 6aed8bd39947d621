"""Use cases of cascades: making them out of outcomes, and which of them pay."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from core.domain.cascade import CascadeEstimate
from core.domain.cascade_calibration import calibrated
from core.domain.cost import SECONDS_PER_HOUR
from core.domain.plan import ReplicaKind
from core.domain.profile import Profile
from core.domain.quality import Outcome, QualityEstimate
from core.domain.traffic import RequestRecord
from core.ports import UnitOfWork, UnitOfWorkFactory


def recalibrate(work: UnitOfWork, query_classes: Collection[str]) -> list[CascadeEstimate]:
    """Make the cascades of some classes anew out of all their outcomes, and store them.

    To be called in the unit of work that adds outcomes of these classes.
    """
    by_class: dict[str, list[Outcome]] = {name: [] for name in sorted(query_classes)}
    for outcome in work.outcomes.all():
        if outcome.query_class in by_class:
            by_class[outcome.query_class].append(outcome)
    made = [found for name, its in by_class.items() for found in calibrated(name, its)]
    work.outcomes.replace_cascades(query_classes, made)
    return made


def cascades(uow: UnitOfWorkFactory) -> list[CascadeEstimate]:
    """Return every cascade that outcomes speak for, by class, models and threshold."""
    with uow() as work:
        return work.outcomes.cascades()


def confident_answers(
    uow: UnitOfWorkFactory, query_class: str, model: str
) -> list[tuple[float, float]]:
    """Return confidence and score of a model's answers to a class, where both are known."""
    with uow() as work:
        return [
            (its.confidence, its.score)
            for its in work.outcomes.all()
            if (its.query_class, its.model) == (query_class, model) and its.confidence is not None
        ]


@dataclass(frozen=True, slots=True)
class Observed:
    """What the gateway saw of the first calls of cascades.

    Attributes:
        judged: First answers whose confidence is known.
        escalated: Of these, how many went on.
    """

    judged: int
    escalated: int


def observed(records: Iterable[RequestRecord]) -> dict[tuple[str, str], Observed]:
    """Return what the gateway saw, per (query class, model asked first)."""
    seen: dict[tuple[str, str], Observed] = {}
    for record in records:
        if record.confidence is not None:
            key = record.query_class, record.first_model or record.model
            before = seen.get(key, Observed(0, 0))
            went_on = before.escalated + bool(record.first_model)
            seen[key] = Observed(before.judged + 1, went_on)
    return seen


def in_words(cascade: CascadeEstimate, quality: Mapping[tuple[str, str], QualityEstimate]) -> str:
    """Say what a cascade does, and what its models score alone where that is known."""
    alone = [
        f"{model} alone {quality[model, cascade.query_class].mean:.1%}"
        for model in (cascade.model, cascade.escalate_to)
        if (model, cascade.query_class) in quality
    ]
    against = f" ({', '.join(alone)})" if alone else ""
    return (
        f"Class {cascade.query_class}: {cascade.model} answers first. Where its tokens have a "
        f"probability of less than {math.exp(cascade.threshold):.1%} on (geometric) average, "
        f"{cascade.escalate_to} answers instead: {cascade.escalated:.0%} of the queries. Mean "
        f"score {cascade.mean:.1%}, at least {cascade.lower:.1%}{against}."
    )


def paying(
    known: Iterable[CascadeEstimate],
    profiles: Mapping[ReplicaKind, Profile],
    quality: Mapping[tuple[str, str], QualityEstimate],
    price_usd_per_hour: Mapping[str, float],
) -> tuple[CascadeEstimate, ...]:
    """Keep the cascades whose two calls cost less than the large model's answer alone.

    Args:
        known: Cascades of any models and classes.
        profiles: Of the kinds that can be placed; a cascade needs one of both models.
        quality: Tells how long answers are, per (model, class).
        price_usd_per_hour: Per SKU.
    """
    token_usd = _token_usd(profiles, price_usd_per_hour)
    kept = []
    for cascade in known:
        ends = cascade.model, cascade.escalate_to
        estimates = [quality.get((model, cascade.query_class)) for model in ends]
        if not token_usd.keys() >= set(ends) or None in estimates:
            continue
        tokens = [its.output_tokens_mean for its in estimates if its]
        if not all(tokens):  # unknown: as long as each other
            tokens = [1.0, 1.0]
        small_usd, large_usd = (
            token_usd[model] * length for model, length in zip(ends, tokens, strict=True)
        )
        if small_usd + cascade.escalated * large_usd < large_usd:
            kept.append(cascade)
    return tuple(kept)


def _token_usd(
    profiles: Mapping[ReplicaKind, Profile], price_usd_per_hour: Mapping[str, float]
) -> dict[str, float]:
    """Cost of an answer token per model, on its cheapest kind, fully used."""
    found: dict[str, float] = {}
    for kind, profile in profiles.items():
        tokens_per_s = max(level.output_tokens_per_s for level in profile.levels)
        if tokens_per_s > 0:
            usd_per_s = kind.devices * price_usd_per_hour[kind.sku] / SECONDS_PER_HOUR
            found[kind.model] = min(found.get(kind.model, math.inf), usd_per_s / tokens_per_s)
    return found
