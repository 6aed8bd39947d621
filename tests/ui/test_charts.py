"""Figures are values: what they hold is what the reader sees."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from core.domain.comparison import Aim, Approach, Comparison, Contender
from core.domain.ids import utc_now
from core.domain.plan import PlanScore, ReplicaKind, make_plan
from core.domain.profile import Provenance
from core.domain.quality import QualityEstimate
from core.domain.study import Limits, Origin, Trial
from ui import charts, charts_plan, charts_studies, tables, tables_studies

SMALL, LARGE = ReplicaKind("small", "L4"), ReplicaKind("large", "L4")


def score(cost: float, p95_s: float | None, quality: float) -> PlanScore:
    return PlanScore(
        provenance=Provenance.PREDICTED,
        cost_usd_per_hour=cost,
        cost_usd_per_million_tokens=cost * 10,
        p50_e2e_s=p95_s and p95_s / 2,
        p95_e2e_s=p95_s,
        p95_ttft_s=None,
        quality_mean=quality,
        quality_lower=quality - 0.03,
        utilisation=0.5,
    )


def trial(
    number: int, one: PlanScore, origin: Origin = Origin.BAYES, front: bool = False
) -> Trial:
    plan = make_plan({SMALL: number + 1}, {"easy": {"small": 1.0}})
    return Trial("study", number, plan, origin, one, on_front=front)


TRIALS = [
    trial(0, score(0.4, 1.0, 0.95), Origin.BASELINE_LARGE),
    trial(1, score(0.1, 2.0, 0.85), front=True),
    trial(2, score(0.2, 1.5, 0.90), front=True),
    trial(3, score(0.3, None, 0.80)),
    trial(4, score(0.3, 3.0, 0.80)),
]


def traces(figure: Any) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data}


def test_every_point_of_the_front_carries_its_plan_number() -> None:
    drawn = traces(charts_plan.pareto(tables.trials_frame(TRIALS)))
    front = drawn["Pareto front"].customdata
    assert [row[0] for row in front] == [1, 2]
    assert [row[0] for row in drawn["Baselines"].customdata] == [0]


def test_a_plan_that_cannot_keep_up_has_no_point() -> None:
    drawn = traces(charts_plan.pareto(tables.trials_frame(TRIALS)))
    others = drawn["Other plans"].customdata
    assert [row[0] for row in others] == [4]


def test_plans_of_the_front_that_are_not_offered_look_different_but_can_be_clicked() -> None:
    limits = Limits(sla_p95_e2e_s=1.8)
    sure = trial(2, replace(score(0.2, 1.5, 0.90), p95_e2e_low_s=1.4, p95_e2e_high_s=1.7))
    known = [TRIALS[1], replace(sure, on_front=True)]
    drawn = traces(charts_plan.pareto(tables.trials_frame(known, limits=limits)))
    assert [row[0] for row in drawn[charts_plan.FRONT_NOT_OFFERED].customdata] == [1]
    assert [row[0] for row in drawn[charts_plan.FRONT].customdata] == [2]


def test_bars_of_a_comparison_leave_out_who_has_no_plan_and_name_who_misses() -> None:
    plan = make_plan({SMALL: 1}, {"easy": {"small": 1.0}})
    ours = Contender(Approach.JOINT, plan, score(0.1, 2.0, 0.85), 3.0, meets=True)
    late = Contender(Approach.ROUTING_ONLY, plan, score(0.2, 5.0, 0.85), 3.0, False, "late")
    none = Contender(Approach.PLACEMENT_ONLY, None, None, None, False, "no plan")
    comparison = Comparison(Aim.SAVINGS, 0.8, 3.0, None, True, (ours, late, none))
    frame = tables_studies.comparison_frame(comparison)
    (bars,) = charts_studies.comparison_bars(frame, comparison.aim).data
    assert list(bars.x) == [0.1, 0.2]
    assert list(bars.text) == ["$0.1", "$0.2, misses a limit"]
    assert list(bars.marker.pattern.shape) == ["", "/"]
    assert list(frame["gain"]) == ["", "no plan meets the limits", "no plan meets the limits"]


def test_running_and_chosen_plans_are_marked_and_still_clickable() -> None:
    frame = tables.trials_frame(TRIALS, running_plan_id=TRIALS[2].plan.plan_id)
    drawn = traces(charts_plan.pareto(frame, chosen=1))
    assert drawn["Running now"].customdata[0][0] == 2
    assert drawn["Chosen"].customdata[0][0] == 1


def test_limits_are_lines_with_words() -> None:
    figure = charts_plan.pareto(tables.trials_frame(TRIALS), None, 2.5, 0.35)
    words = [note["text"] for note in figure.to_dict()["layout"]["annotations"]]
    assert words == ["wanted P95 2.5 s", "budget 0.35 $/h"]


def test_latencies_far_apart_get_a_logarithmic_axis() -> None:
    near = charts_plan.pareto(tables.trials_frame(TRIALS))
    far = charts_plan.pareto(tables.trials_frame([*TRIALS, trial(5, score(0.1, 99.0, 0.8))]))
    assert near.layout.yaxis.type == "linear"
    assert far.layout.yaxis.type == "log"


def test_a_front_of_one_cost_is_spread_by_quality() -> None:
    same = [trial(n, score(0.1, 1.0 + n, 0.80 + n / 50), front=True) for n in (1, 2)]
    frame = tables.trials_frame(same)
    assert charts_plan.usual_view(frame) == "Quality and latency"
    assert charts_plan.usual_view(tables.trials_frame(TRIALS)) == "Cost and latency"
    drawn = traces(charts_plan.pareto(frame, view="Quality and latency"))
    assert list(drawn["Pareto front"].x) == pytest.approx([0.82, 0.84])


def test_a_what_if_joins_before_and_after_and_marks_what_broke() -> None:
    plans = pd.DataFrame(
        {
            "number": [1, 2],
            "cost_before": [0.1, 0.2],
            "p95_before": [2.0, 1.5],
            "cost_after": [0.2, 0.4],
            "p95_after": [2.5, 1.6],
            "feasible_after": [True, False],
        }
    )
    drawn = traces(charts_plan.whatif_fronts(plans, chosen=1))
    assert list(drawn["After the change"].x) == [0.2]
    assert list(drawn["No longer feasible"].x) == [0.4]
    assert list(drawn["Chosen"].x) == [0.2]


def test_quality_bars_carry_the_interval() -> None:
    estimate = QualityEstimate("small", "easy", 100, 0.9, 0.82, 0.95, 22.0, utc_now())
    bar = charts.quality_bars(tables.estimates_frame([estimate])).data[0]
    assert round(bar.error_y.array[0], 3) == 0.05
    assert round(bar.error_y.arrayminus[0], 3) == 0.08


def test_routing_bars_show_shares_per_class() -> None:
    plan = make_plan(
        {SMALL: 1, LARGE: 1},
        {"easy": {"small": 1.0}, "hard": {"small": 0.3, "large": 0.7}},
    )
    drawn = traces(charts.routing_bars(tables.routes_frame(plan)))
    assert list(drawn["large"].x) == [0.7]
    assert list(drawn["small"].y) == ["easy", "hard"]
