"""Scenario files in the dashboard: out on What-if, in on Optimise; what-if by class."""

import yaml

from core.domain.ids import utc_now
from core.ports import UnitOfWorkFactory
from core.services import workloads
from core.services.scenarios import export_scenario
from tests.ui.conftest import OpenPage, texts
from tests.ui.seed import Seeded
from tests.unit.scenario_texts import SMALL

Full = tuple[UnitOfWorkFactory, Seeded]


def upload(open_page: OpenPage, content: bytes) -> str:
    at = open_page("optimise")
    at.get_by_key("scenario_file").set_value(("s.yaml", content, "application/yaml"))
    at.button(key="scenario_import").click().run()
    assert not at.exception
    return texts(at)


def test_a_scenario_is_imported_and_told(seeded: Full, open_page: OpenPage) -> None:
    uow, _ = seeded
    told = upload(open_page, SMALL.encode())
    assert "Workload 'Scenario': 1 classes, added." in told
    assert "m is not registered" in told
    assert workloads.workloads(uow)[0].name == "Scenario"


def test_a_broken_scenario_is_refused_with_its_field(seeded: Full, open_page: OpenPage) -> None:
    uow, _ = seeded
    before = workloads.workloads(uow)
    told = upload(open_page, SMALL.replace("a10: 1.0", "a10: free").encode())
    assert "prices_usd_per_hour.a10 (line 5)" in told
    assert workloads.workloads(uow) == before


def test_nothing_uploaded_is_said(seeded: Full, open_page: OpenPage) -> None:
    at = open_page("optimise")
    at.button(key="scenario_import").click().run()
    assert "is empty" in texts(at)


def test_what_if_offers_the_changed_problem_as_a_file(seeded: Full, open_page: OpenPage) -> None:
    _, known = seeded
    plan = known.front[0]
    at = open_page("whatif", study_id=known.study_id, trial_number=plan.number)
    at.slider(key="wi_price").set_value(2.0).run()
    assert not at.exception
    (button,) = at.get("download_button")
    assert button.label == "Download as a scenario"


def test_a_class_can_grow_alone(seeded: Full, open_page: OpenPage) -> None:
    at = open_page("whatif")
    assert "Nothing is changed yet" in texts(at)
    at.number_input(key="wi_class_hard").set_value(4.0).run()
    assert not at.exception
    assert "Nothing is changed yet" not in texts(at)
    quality = next(metric for metric in at.metric if metric.label == "Quality, at least")
    assert quality.delta.startswith("-")


def test_no_traffic_at_all_is_refused_kindly(seeded: Full, open_page: OpenPage) -> None:
    at = open_page("whatif")
    for name in ("easy", "medium", "hard"):
        at.number_input(key=f"wi_class_{name}").set_value(0.0)
    at.run()
    assert not at.exception
    assert "has no requests" in texts(at)


def test_the_seeded_export_is_a_scenario(seeded: Full) -> None:
    uow, known = seeded
    content = yaml.safe_load(export_scenario(uow, known.study_id, utc_now()))
    assert {entry["name"] for entry in content["models"]} == {"small", "large"}
