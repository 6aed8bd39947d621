"""What the pages say of the router."""

import numpy as np
import pytest

from core.domain.ids import utc_now
from core.domain.router_report import RouterReport
from core.ports import UnitOfWorkFactory
from core.quality.outcome_table import table_of
from core.quality.router_report import report_of
from core.routing.bands import Bands
from core.services import jobs
from tests.ui.conftest import OpenPage, texts
from tests.ui.seed import Seeded
from tests.unit.routing_world import world
from ui import charts_routing

Full = tuple[UnitOfWorkFactory, Seeded]


@pytest.fixture(scope="module")
def report() -> RouterReport:
    made = world(200, seed=0)
    bands = Bands(1, 0, np.array([0.1, 0.4]), np.zeros(0))
    found = report_of(table_of(made.outcomes()), made.true, bands, with_bands=True)
    assert found is not None
    return found


def store(uow: UnitOfWorkFactory, report: RouterReport) -> None:
    facts = {"n": 200, "classes": [band.name for band in report.bands]}
    with uow() as work:
        work.classifiers.add(b"", facts | {"router": report.to_facts()}, utc_now())
        work.commit()


def test_a_router_is_shown_with_its_bounds_and_a_threshold_in_words(
    seeded: Full, open_page: OpenPage, report: RouterReport
) -> None:
    uow, _ = seeded
    store(uow, report)
    at = open_page("workload")
    shown = {metric.label: metric.value for metric in at.metric}
    assert shown["Gap recovered (APGR)"] == f"{report.apgr:.2f}"
    assert shown["Classes"] == "3"
    assert "50% of the queries" in texts(at)
    at.slider(key="router_share").set_value(20).run()
    assert not at.exception
    assert "20% of the queries" in texts(at)
    [examples] = [frame.value for frame in at.dataframe if "gain" in frame.value]
    assert set(examples["goes to"]) == {"large", "small"}
    [bands] = [frame.value for frame in at.dataframe if "large scored" in frame.value]
    assert bands["queries"].sum() == 200


def test_without_a_report_the_page_says_what_is_missing(seeded: Full, open_page: OpenPage) -> None:
    assert "two models have to be scored on the same queries" in texts(open_page("workload"))


@pytest.mark.parametrize(
    ("chosen", "bands"),
    [("those of the query sets", False), ("bands of what is predicted", True)],
)
def test_the_classes_to_learn_are_chosen(
    seeded: Full, open_page: OpenPage, chosen: str, bands: bool
) -> None:
    uow, _ = seeded
    at = open_page("workload")
    at.radio(key="classifier_classes").set_value(chosen)
    at.button(key="classifier_train").click().run()
    assert not at.exception
    newest = max(jobs.jobs(uow), key=lambda job: job.created_at)
    assert newest.params == {"bands": bands}


def test_figures_hold_the_report(report: RouterReport) -> None:
    frame = charts_routing.points_frame(report.points)
    oracle, router, random, chosen = charts_routing.cost_quality(
        frame, report.at(0.5), report.strong
    ).data
    assert (np.array(oracle.y) + 1e-9 >= np.array(router.y)).all()
    assert random.y[0] == pytest.approx(router.y[0])
    assert (chosen.x[0], chosen.y[0]) == (0.5, report.at(0.5).router)
    diagonal, *models = charts_routing.reliability(report.models).data
    assert list(diagonal.x) == list(diagonal.y)
    assert {line.name for line in models} == {"large", "small"}
