"""Which code does which kind of job. Imports are late: a child loads only what its job needs."""

from core.domain.job import JobKind
from core.domain.planning import PlanningFacts
from core.domain.quality import QuerySet
from core.errors import NotReady
from core.ports import JobBody, JobContext, PlanMeter


def body_of(kind: JobKind) -> JobBody:
    """Return the body of a kind of job."""
    return {
        JobKind.PROFILE: _profile,
        JobKind.QUALITY: _quality,
        JobKind.JUDGE: _judge,
        JobKind.CLASSIFIER: _classifier,
        JobKind.CHARACTERISE: _characterise,
        JobKind.OPTIMISE: _optimise,
    }[kind]()


def _profile() -> JobBody:
    from core.profiling.job import ProfileJob

    return ProfileJob()


def _quality() -> JobBody:
    from core.quality.job import QualityJob

    return QualityJob()


def _judge() -> JobBody:
    from core.quality.judge_job import JudgeJob
    from core.settings import load_settings

    return JudgeJob(load_settings().judge_api_key)


def _classifier() -> JobBody:
    from core.quality.classifier_job import ClassifierJob

    return ClassifierJob()


def _characterise() -> JobBody:
    from core.demo.first_plan import FirstPlanJob

    return FirstPlanJob()


def _optimise() -> JobBody:
    from core.optimize.job import OptimiseJob

    return OptimiseJob(_live_evaluator)


def _live_evaluator(context: JobContext, facts: PlanningFacts) -> PlanMeter:
    """Measure plans on real replicas, with the queries that the workload's classes come from."""
    from core.profiling.live import LiveEvaluator
    from core.quality.scorers import scorer
    from core.routing.reading import read_classifier

    with context.uow() as work:
        known = [work.query_sets.get(name) for name in work.query_sets.names()]
        newest = work.classifiers.latest()
    query_set = _query_set_for(facts, known)
    classifier = read_classifier(newest[1]) if newest else None
    return LiveEvaluator(context, facts, query_set, scorer(query_set.scorer), classifier)


def _query_set_for(facts: PlanningFacts, known: list[QuerySet | None]) -> QuerySet:
    wanted = {traffic.query_class for traffic in facts.workload.classes}
    for query_set in known:
        if query_set and wanted <= set(query_set.classes):
            return query_set
    raise NotReady(
        f"No query set has queries of every class of the workload ({', '.join(sorted(wanted))}).",
        "Upload one on Workload & quality, or study without live evaluations.",
    )
