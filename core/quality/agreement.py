"""Whether two answers to one query say the same, by the metric that answers are scored with."""

from core.quality.scorers import chosen_option, exact_match, last_number


def agrees(metric: str, one: str, other: str) -> bool | None:
    """Return whether two answers say the same; None where the metric cannot tell.

    Two right answers always agree, so agreement bounds how many are right in both.

    Args:
        metric: Name of a scorer.
    """
    if metric == "numeric":
        return _same(last_number(one), last_number(other))
    if metric == "multiple_choice":
        return _same(chosen_option(one), chosen_option(other))
    if metric == "exact_match":
        return bool(exact_match(one, other))
    return None


def _same(one: object, other: object) -> bool:
    return one is not None and one == other
