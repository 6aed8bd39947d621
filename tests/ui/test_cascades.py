"""What the pages say of cascades."""

import math

from core.domain.ids import utc_now
from core.domain.quality import QualityEstimate
from core.ports import UnitOfWorkFactory
from core.services import cascades
from tests.contract import samples
from tests.ui.conftest import OpenPage, texts
from tests.ui.seed import Seeded
from tests.ui.seed_cascades import seed_cascades
from ui import charts_cascades, tables

Full = tuple[UnitOfWorkFactory, Seeded]


def test_cascades_are_listed_with_what_was_seen_and_a_threshold_in_words(
    seeded: Full, open_page: OpenPage
) -> None:
    uow, _ = seeded
    known = seed_cascades(uow)
    at = open_page("workload")
    [shown] = [frame.value for frame in at.dataframe if "escalated" in frame.value]
    assert list(shown["threshold"]) == [its.threshold for its in known]
    assert set(shown["route"]) == {"small, else large"}
    assert "queries, small first: " in texts(at)
    assert f"{math.exp(known[0].threshold):.1%} on (geometric) average" in texts(at)
    at.selectbox(key="cascade_chosen").set_value(len(known) - 1).run()
    assert not at.exception
    assert f"{math.exp(known[-1].threshold):.1%} on (geometric) average" in texts(at)


def test_without_any_the_page_says_what_makes_one(seeded: Full, open_page: OpenPage) -> None:
    assert "None is worth having so far" in texts(open_page("workload"))


def test_a_figure_goes_from_one_model_to_the_other() -> None:
    known = [samples.cascade(-0.5), samples.cascade(-0.25)]
    now = utc_now()
    quality = {
        (model, "easy"): QualityEstimate(model, "easy", 100, mean, 0.5, 1.0, 20.0, now)
        for model, mean in (("small", 0.7), ("large", 0.95))
    }
    ends, cascade = charts_cascades.cascade_quality(known, quality).data
    assert (list(ends.x), list(ends.y)) == ([0, 1], [0.7, 0.95])
    assert list(cascade.x) == [0.2, 0.2]
    [alone] = charts_cascades.cascade_quality(known, {}).data
    assert alone.name == "cascade"


def test_what_was_seen_counts_judged_first_answers_only() -> None:
    records = [
        samples.request("a"),
        samples.request("b", confidence=-0.1),
        samples.escalated_request("c", query_class="easy", model="large"),
        samples.request("d", first_model="small", model="large"),
    ]
    seen = cascades.observed(records)
    assert seen[("easy", "small")] == cascades.Observed(1, 0)
    assert seen[("easy", "tiny")] == cascades.Observed(1, 1)
    assert list(tables.requests_frame(records)["model"])[2:] == [
        "large after tiny",
        "large after small",
    ]


def test_how_sure_a_model_was_when_right_and_when_wrong() -> None:
    answers = [(-0.1, 1.0), (-0.2, 0.5), (-2.0, 0.0)]
    figure = charts_cascades.confidence_histogram(answers, -1.0)
    right, wrong = figure.data
    assert list(right.x) == [math.exp(-0.1), math.exp(-0.2)]
    assert list(wrong.x) == [math.exp(-2.0)]
    assert figure.layout.shapes[0].x0 == math.exp(-1.0)
