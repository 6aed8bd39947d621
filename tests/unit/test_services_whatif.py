"""What-if: plans scored again under other prices, traffic, limits and fleets."""

import math
from dataclasses import replace

import pytest

from core.domain.plan import ReplicaKind, make_plan
from core.domain.study import Limits
from core.errors import InvalidInput
from core.estimate import AnalyticEvaluator
from core.services import whatif
from core.services.whatif import Change, changed_facts, re_evaluated
from tests.unit.planning_problems import two_models

SMALL, LARGE = ReplicaKind("small", "cpu-core"), ReplicaKind("large", "cpu-core")
ALL_LARGE = {name: {"large": 1.0} for name in ("easy", "medium", "hard")}
ALL_SMALL = {name: {"small": 1.0} for name in ("easy", "medium", "hard")}
NOTHING = Change()


def test_nothing_changed_is_the_evaluator_itself() -> None:
    facts = two_models(devices=4)
    plans = [make_plan({LARGE: 2}, ALL_LARGE), make_plan({LARGE: 4}, ALL_LARGE)]
    assert changed_facts(facts, NOTHING) == facts
    evaluator = AnalyticEvaluator(facts)
    assert re_evaluated(facts, plans, NOTHING) == [evaluator.evaluate(plan) for plan in plans]


def test_prices_double_and_traffic_doubles() -> None:
    facts = two_models(devices=4)
    plans = [make_plan({LARGE: 2}, ALL_LARGE), make_plan({LARGE: 4}, ALL_LARGE)]
    before = re_evaluated(facts, plans, NOTHING)
    dearer = re_evaluated(facts, plans, Change(price_factor=2.0))
    assert [b.cost_usd_per_hour for b in dearer] == [2 * a.cost_usd_per_hour for a in before]
    assert [b.p95_e2e_s for b in dearer] == [a.p95_e2e_s for a in before]
    busier = re_evaluated(facts, plans, Change(traffic_factor=2.0))
    assert not busier[0].feasible
    assert busier[1].feasible
    assert busier[1].p95_e2e_s > before[1].p95_e2e_s


def test_an_absolute_price_stands_instead_of_the_factor() -> None:
    facts = two_models(devices=4)
    change = Change(price_factor=3.0, prices_usd_per_hour={"cpu-core": 0.5})
    assert changed_facts(facts, change).price_usd_per_hour == {"cpu-core": 0.5}
    (score,) = re_evaluated(facts, [make_plan({LARGE: 2}, ALL_LARGE)], change)
    assert score.cost_usd_per_hour == pytest.approx(1.0)


def test_the_mix_of_classes_moves_quality() -> None:
    facts = two_models(devices=4, load=0.5)
    plan = make_plan({SMALL: 4}, ALL_SMALL)
    change = Change(traffic_factor=0.5, class_factors={"easy": 0.0})
    rates = {t.query_class: t.rate_rps for t in changed_facts(facts, change).workload.classes}
    known = {t.query_class: t.rate_rps for t in facts.workload.classes}
    assert rates == {"easy": 0.0, "medium": known["medium"] / 2, "hard": known["hard"] / 2}
    (before,), (after,) = re_evaluated(facts, [plan], NOTHING), re_evaluated(facts, [plan], change)
    assert after.quality_mean < before.quality_mean


def test_limits_and_devices_change() -> None:
    facts = two_models(devices=4)
    plan = make_plan({LARGE: 3}, ALL_LARGE)

    def why(change: Change) -> str:
        return re_evaluated(facts, [plan], change)[0].violations[0]

    assert "budget" in why(Change(limits=Limits(budget_usd_per_hour=0.1)))
    assert "Needs 3 x cpu-core" in why(Change(devices={"cpu-core": 2}))
    assert "Needs 3 x cpu-core" in why(Change(devices={"cpu-core": 0}))


def test_devices_come_in_nodes_of_the_known_size() -> None:
    facts = replace(two_models(), devices_per_node={"cpu-core": (4, 4)})

    def nodes(count: int) -> tuple[int, ...]:
        changed = changed_facts(facts, Change(devices={"cpu-core": count}))
        return changed.devices_per_node["cpu-core"]

    assert nodes(8) == (4, 4)
    assert nodes(6) == (4, 2)
    assert nodes(13) == (4, 4, 4, 1)


def test_what_a_better_estimator_knew_holds_after_the_change() -> None:
    facts = replace(two_models(devices=4), limits=Limits(sla_p95_e2e_s=0.8))
    plans = [make_plan({LARGE: 2}, ALL_LARGE), make_plan({LARGE: 1}, ALL_LARGE)]
    analytic = re_evaluated(facts, plans, NOTHING)
    assert analytic[1].p95_e2e_s is None, "the second plan cannot keep up"
    slower = replace(analytic[0], p95_e2e_s=1.5 * analytic[0].p95_e2e_s, estimator="simulated")
    assert whatif.latency_ratios(facts, plans, analytic) == [1.0, 1.0]
    ratios = whatif.latency_ratios(facts, plans, [slower, analytic[1]])
    assert ratios == pytest.approx([1.5, 1.0])
    same, none = re_evaluated(facts, plans, NOTHING, ratios)
    assert same.p95_e2e_s == pytest.approx(slower.p95_e2e_s)
    assert same.p50_e2e_s == pytest.approx(1.5 * analytic[0].p50_e2e_s)
    assert same.sla_attainment < analytic[0].sla_attainment
    assert none.p95_e2e_s is None
    dearer = re_evaluated(facts, plans, Change(price_factor=3.0), ratios)[0]
    assert dearer.p95_e2e_s == same.p95_e2e_s


@pytest.mark.parametrize("factor", [0.0, -1.0, math.nan, math.inf])
def test_factors_without_sense_are_refused(factor: float) -> None:
    for wrong in ({"traffic_factor": factor}, {"price_factor": factor}):
        with pytest.raises(InvalidInput):
            Change(**wrong)
    with pytest.raises(InvalidInput):
        Change(prices_usd_per_hour={"cpu-core": factor})


def test_other_values_without_sense_are_refused() -> None:
    with pytest.raises(InvalidInput, match="-1 devices"):
        Change(devices={"cpu-core": -1})
    with pytest.raises(InvalidInput, match="class easy"):
        Change(class_factors={"easy": -0.1})
    with pytest.raises(InvalidInput, match="no requests"):
        changed_facts(two_models(), Change(class_factors=dict.fromkeys(ALL_LARGE, 0.0)))


def test_the_cheapest_feasible_plan_is_found() -> None:
    facts = two_models(devices=3, quality_floor=0.9)
    plans = [
        make_plan({SMALL: 1}, ALL_SMALL),
        make_plan({LARGE: 3}, ALL_LARGE),
        make_plan({LARGE: 2}, ALL_LARGE),
    ]
    scores = re_evaluated(facts, plans, NOTHING)
    assert whatif.cheapest_meeting(plans, scores) == 2
    between = (scores[1].p95_e2e_s + scores[2].p95_e2e_s) / 2
    assert whatif.cheapest_meeting(plans, scores, between) == 1
    assert whatif.cheapest_meeting(plans, scores, 1e-6) == 2
    assert whatif.cheapest_meeting(plans[:1], scores[:1]) is None
