"""Use cases of live checks: whether quality is in traffic what outcomes said."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from core.domain.check import Drift, LiveCheck
from core.domain.intervals import betting_at_any_time, wilson
from core.domain.quality import Outcome
from core.ports import UnitOfWorkFactory

LONGEST = timedelta(days=30)
FEWEST_PAIRS = 30
MOST_CHECKS = 2_000


def drifts(uow: UnitOfWorkFactory, now: datetime) -> list[Drift]:
    """Return live agreement per class and model, breaches first.

    Counted are checks since the model's quality in the class was last measured, of the last 30
    days. Expected agreement is the share of queries that both models answer right: two right
    answers agree. It is known where both were scored on at least 30 common queries, right or
    wrong.
    """
    with uow() as work:
        live = work.checks.live(now - LONGEST)
        if not live:
            return []
        since = {(e.model, e.query_class): e.measured_at for e in work.outcomes.estimates()}
        outcomes = work.outcomes.all()
    scored = _scored(outcomes)
    found = []
    for (query_class, model, best), its in sorted(_parts(live, since).items()):
        agreed = [float(check.agrees) for check in its[-MOST_CHECKS:]]
        expected = _both_right(scored, query_class, model, best)
        lower, upper = betting_at_any_time(agreed)
        mean = sum(agreed) / len(agreed)
        found.append(Drift(query_class, model, best, len(agreed), mean, lower, upper, expected))
    return sorted(found, key=lambda its: not its.breached)


def drift_in_words(its: Drift) -> str:
    """Say what a drift means, and what to do about a breach."""
    seen = (
        f"{its.model} in class {its.query_class}: {its.agreement:.0%} of {its.n} live answers say "
        f"the same as {its.best}'s (95 % interval {its.lower:.0%} to {its.upper:.0%})"
    )
    if its.expected is None:
        return f"{seen}; what to expect is unknown: score both on {FEWEST_PAIRS} common queries."
    if not its.breached:
        return f"{seen}; at least {its.expected:.0%} was expected."
    return (
        f"{seen}; scored answers promise at least {its.expected:.0%}. Its quality in live traffic "
        "is not what the plan was made with: score it again on recent queries, or go back to an "
        "earlier plan on Deploy."
    )


def _parts(
    live: Iterable[LiveCheck], since: dict[tuple[str, str], datetime]
) -> dict[tuple[str, str, str], list[LiveCheck]]:
    parts: dict[tuple[str, str, str], list[LiveCheck]] = defaultdict(list)
    for check in live:
        measured_at = since.get((check.model, check.query_class))
        if measured_at is None or check.at >= measured_at:
            parts[check.query_class, check.model, check.best].append(check)
    return parts


def _scored(outcomes: Sequence[Outcome]) -> dict[tuple[str, str], dict[str, float]]:
    """Return the newest score per (class, model) and query."""
    scored: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    for outcome in outcomes:
        scored[outcome.query_class, outcome.model][outcome.query] = outcome.score
    return scored


def _both_right(
    scored: dict[tuple[str, str], dict[str, float]], query_class: str, model: str, best: str
) -> float | None:
    """Return the lower end of the interval on the share that both answer right."""
    mine, others = (scored.get((query_class, name), {}) for name in (model, best))
    common = [(score, others[query]) for query, score in mine.items() if query in others]
    scores = {score for pair in common for score in pair}
    if len(common) < FEWEST_PAIRS or not scores <= {0.0, 1.0}:
        return None
    return wilson(sum(a * b for a, b in common) / len(common), len(common))[0]
