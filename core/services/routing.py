"""Use cases of routing: what is known of the router, in figures and in words."""

from core.domain.router_report import Example, Point, RouterReport
from core.ports import UnitOfWorkFactory


def router_report(uow: UnitOfWorkFactory) -> RouterReport | None:
    """Return the report that came with the newest classifier.

    None when there is no classifier, or too few queries were answered by two models.
    """
    with uow() as work:
        newest = work.classifiers.latest()
    facts = newest[2].get("router") if newest else None
    return RouterReport.from_facts(facts) if facts else None


def examples_at(report: RouterReport, share: float) -> tuple[Example, ...]:
    """Return the queries next to the threshold at a share, or at the closest one with examples."""
    if not report.examples:
        return ()
    closest = min({its.share for its in report.examples}, key=lambda its: abs(its - share))
    return tuple(its for its in report.examples if its.share == closest)


def in_words(report: RouterReport, share: float) -> str:
    """Say what it means to let the strong model answer a share of the queries."""
    point = report.at(share)
    gap = report.points[-1].router - report.points[0].router
    if point.share in (0, 1):
        only = report.strong if point.share else report.weak
        return f"All queries go to {only}: a mean score of {point.router:.1%}."
    sentences = [
        f"A query goes to {report.strong} when that is expected to score at least "
        f"{100 * point.threshold:.1f} points more than {report.weak}. That is {point.share:.0%} "
        f"of the queries.",
        f"The mean score is then {point.router:.1%}; drawing them at random would give "
        f"{point.random:.1%}, knowing all outcomes {point.oracle:.1%}.",
    ]
    if gap > 0:
        sentences.append(_recovered(report, point, gap))
    return " ".join(sentences)


def _recovered(report: RouterReport, point: Point, gap: float) -> str:
    share = (point.router - report.points[0].router) / gap
    return (
        f"That recovers {share:.0%} of what {report.strong} alone scores more than {report.weak} "
        f"alone ({100 * gap:.1f} points)."
    )
