"""The seeded study: every mix of two models on up to eight cores, scored by the estimator."""

import itertools
from dataclasses import replace
from datetime import datetime, timedelta

from core.domain.comparison import Aim, Approach, Comparison, Contender
from core.domain.ids import new_id
from core.domain.offer import objections
from core.domain.plan import PlanScore, ReplicaKind, ServingPlan, make_plan
from core.domain.profile import Provenance
from core.domain.study import Limits, Origin, Study, StudyState, Trial
from core.domain.workload import Workload
from core.estimate import AnalyticEvaluator
from core.estimate.uncertainty import with_interval
from core.optimize.folding import folded
from core.ports import UnitOfWorkFactory
from core.services.planning import load_facts

SKU = "cpu-core"
CORES = 8
CLASSES = {"easy": 3.0, "medium": 1.25, "hard": 0.75}
SMALL, LARGE = ReplicaKind("small", SKU), ReplicaKind("large", SKU)
LIMITS = Limits(quality_floor=0.80, sla_p95_e2e_s=4.0)


def seed_study(
    uow: UnitOfWorkFactory, workload: Workload, now: datetime
) -> tuple[Study, list[Trial]]:
    """Store a finished study with its trials; one plan of the front was measured."""
    study = Study(
        study_id=new_id(),
        name="First plan",
        workload_id=workload.workload_id,
        limits=LIMITS,
        live_evaluations=1,
        seed=0,
        state=StudyState.DONE,
        created_at=now - timedelta(hours=4),
        finished_at=now - timedelta(hours=4),
        reference=(0.4, 8.0, 0.5),
    )
    facts = load_facts(uow, workload.workload_id, LIMITS, now)
    evaluator = AnalyticEvaluator(facts)
    scored = [
        (origin, plan, with_interval(facts, plan, evaluator.evaluate(plan)))
        for origin, plan in _plans()
    ]
    front = _front([score for _, _, score in scored])
    trials = [
        Trial(study.study_id, number, plan, origin, score, None, number in front)
        for number, (origin, plan, score) in enumerate(scored)
    ]
    trials = folded(facts, trials, {})
    study = replace(study, comparisons=_comparisons(trials))
    live = next(t for t in trials if t.on_front and t.alike is None)
    trials[live.number] = replace(live, measured=_measured(live.predicted))
    with uow() as work:
        work.studies.save(study)
        work.studies.save_trials(trials)
        work.commit()
    return study, trials


def _plans() -> list[tuple[Origin, ServingPlan]]:
    everything = {c: {"large": 1.0} for c in CLASSES}
    cheapest = {c: {"small": 1.0} for c in CLASSES}
    plans = [
        (Origin.BASELINE_LARGE, make_plan({LARGE: 3}, everything)),
        (Origin.BASELINE_SMALL, make_plan({SMALL: 1}, cheapest)),
    ]
    mixes = itertools.product((0.0, 0.5, 1.0), (0.5, 0.8, 1.0), range(1, 4), range(1, 6))
    for medium, hard, small, large in mixes:
        routing = {
            "easy": {"small": 1.0},
            "medium": {"small": 1 - medium, "large": medium},
            "hard": {"small": 1 - hard, "large": hard},
        }
        if small + large <= CORES:
            origin = Origin.SEED if medium == hard else Origin.BAYES
            plans.append((origin, make_plan({SMALL: small, LARGE: large}, routing)))
    return plans


def _front(scores: list[PlanScore]) -> set[int]:
    """Return the plans that no other feasible plan beats in cost, latency and quality."""
    feasible = {i: s for i, s in enumerate(scores) if s.feasible}

    def beats(a: PlanScore, b: PlanScore) -> bool:
        better = [
            a.cost_usd_per_hour <= b.cost_usd_per_hour + 1e-12,
            (a.p95_e2e_s or 1e9) <= (b.p95_e2e_s or 1e9) + 1e-12,
            a.quality_lower >= b.quality_lower - 1e-12,
        ]
        return all(better) and a != b

    return {i for i, s in feasible.items() if not any(beats(o, s) for o in feasible.values())}


def _comparisons(trials: list[Trial]) -> tuple[Comparison, ...]:
    """Both modes among the seeded plans; one baseline meets the limits, one does not, one has no
    plan, and one does as well."""
    offered = [t for t in trials if t.on_front and not objections(t.score, LIMITS)]
    cheapest = min(offered, key=lambda t: t.score.cost_usd_per_hour)
    fastest = min(offered, key=lambda t: t.score.p95_e2e_s or 1e9)
    large, small = trials[0], trials[1]
    return tuple(
        Comparison(
            aim,
            LIMITS.quality_floor,
            LIMITS.sla_p95_e2e_s if aim is Aim.SAVINGS else None,
            None,
            True,
            (
                _contender(Approach.JOINT, best),
                _contender(Approach.ONE_MODEL_ONE_SKU, large),
                replace(
                    _contender(Approach.ROUTING_ONLY, small),
                    meets=False,
                    note="; ".join(objections(small.score, LIMITS)),
                ),
                Contender(Approach.PLACEMENT_ONLY, None, None, None, False, "No plan."),
                _contender(Approach.ROUTING_THEN_PLACEMENT, best),
            ),
        )
        for aim, best in ((Aim.SAVINGS, cheapest), (Aim.LATENCY, fastest))
    )


def _contender(approach: Approach, trial: Trial) -> Contender:
    return Contender(approach, trial.plan, trial.score, 9.0, meets=True)


def _measured(predicted: PlanScore) -> PlanScore:
    return replace(
        predicted,
        provenance=Provenance.MEASURED,
        p50_e2e_s=(predicted.p50_e2e_s or 1.0) * 1.08,
        p95_e2e_s=(predicted.p95_e2e_s or 1.0) * 1.15,
        p95_e2e_low_s=(predicted.p95_e2e_s or 1.0) * 1.02,
        p95_e2e_high_s=(predicted.p95_e2e_s or 1.0) * 1.35,
        quality_mean=predicted.quality_mean - 0.004,
    )
