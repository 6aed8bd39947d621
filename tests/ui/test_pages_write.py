"""What an operator does on each page reaches the database; what is refused says why."""

import pytest

from core.domain.deployment import DeploymentState
from core.domain.ids import utc_now
from core.domain.job import JobKind, JobState
from core.ports import UnitOfWorkFactory
from core.services import deployments, inventory, jobs, quality, studies, workloads
from tests.ui.conftest import OpenPage, texts
from tests.ui.seed import Seeded, seed, seed_fleet

Full = tuple[UnitOfWorkFactory, Seeded]


def test_the_built_in_start_enqueues_the_whole_way_to_a_front(
    uow: UnitOfWorkFactory, open_page: OpenPage
) -> None:
    seed_fleet(uow)
    at = open_page("overview")
    at.button(key="start_built_in").click().run()
    assert not at.exception
    kinds = {job.kind for job in jobs.jobs(uow)}
    assert {JobKind.PROFILE, JobKind.QUALITY, JobKind.CLASSIFIER} <= kinds
    assert "Work is under way" in texts(at)


def test_a_price_is_saved(seeded: Full, open_page: OpenPage) -> None:
    uow, _ = seeded
    at = open_page("inventory")
    at.number_input(key="price_usd").set_value(0.07)
    at.button(key="price_save").click().run()
    assert inventory.current_prices(uow, utc_now()) == {"cpu-core": 0.07}
    assert at.success


def test_a_price_of_zero_is_refused_with_a_hint(seeded: Full, open_page: OpenPage) -> None:
    uow, _ = seeded
    at = open_page("inventory")
    at.number_input(key="price_usd").set_value(0.0)
    at.button(key="price_save").click().run()
    assert "must be above zero" in texts(at)
    assert "purchase" in texts(at)
    assert inventory.current_prices(uow, utc_now()) == {"cpu-core": 0.04}


def test_a_model_path_that_does_not_exist_is_refused(seeded: Full, open_page: OpenPage) -> None:
    at = open_page("models")
    at.session_state["models_tabs"] = "Models"
    at.run()
    at.text_input(key="model_name").set_value("mine")
    at.text_input(key="model_path").set_value("no/such/folder/here")
    at.button(key="model_save").click().run()
    assert "There is no model folder" in texts(at)


def test_a_profile_is_asked_for(seeded: Full, open_page: OpenPage) -> None:
    uow, _ = seeded
    at = open_page("models")
    at.selectbox(key="profile_model").set_value("small")
    at.button(key="profile_start").click().run()
    newest = jobs.jobs(uow)[0]
    assert newest.title == "Profile small on 1 x cpu-core"
    assert newest.params["concurrencies"] is None
    assert newest.params["latency_budget_s"] is None


def test_a_profile_of_chosen_levels_is_asked_for(seeded: Full, open_page: OpenPage) -> None:
    uow, _ = seeded
    at = open_page("models")
    at.segmented_control(key="profile_how").set_value("Chosen levels").run()
    at.multiselect(key="profile_levels").set_value([1, 8])
    at.number_input(key="profile_seconds").set_value(3)
    at.number_input(key="profile_most").set_value(40)
    at.number_input(key="profile_latency_budget").set_value(2.5)
    at.button(key="profile_start").click().run()
    newest = jobs.jobs(uow)[0]
    assert newest.params["concurrencies"] == [1, 8]
    assert newest.params["seconds_per_level"] == 3
    assert newest.params["max_seconds"] == 40
    assert newest.params["latency_budget_s"] == 2.5


def test_a_profile_without_a_level_is_refused(seeded: Full, open_page: OpenPage) -> None:
    uow, _ = seeded
    at = open_page("models")
    at.segmented_control(key="profile_how").set_value("Chosen levels").run()
    at.multiselect(key="profile_levels").set_value([])
    at.button(key="profile_start").click().run()
    assert "Load levels must be" in texts(at)
    assert all(not job.active for job in jobs.jobs(uow))


def test_more_devices_than_there_are_is_refused(seeded: Full, open_page: OpenPage) -> None:
    uow, _ = seeded
    at = open_page("models")
    at.number_input(key="profile_tp").set_value(64)
    at.button(key="profile_start").click().run()
    assert "needs 64 usable" in texts(at)
    assert all(not job.active for job in jobs.jobs(uow))


def test_traffic_is_described_and_traffic_of_nothing_is_refused(
    seeded: Full, open_page: OpenPage
) -> None:
    uow, _ = seeded
    at = open_page("workload")
    at.session_state["workload_tabs"] = "Traffic"
    at.run()
    for name, rate in {"easy": 2.0, "medium": 0.0, "hard": 1.0}.items():
        at.number_input(key=f"workload_rate_{name}").set_value(rate)
    at.button(key="workload_save").click().run()
    assert workloads.workloads(uow)[0].rate_rps == 3.0
    for name in ("easy", "medium", "hard"):
        at.number_input(key=f"workload_rate_{name}").set_value(0.0)
    at.button(key="workload_save").click().run()
    assert "has no requests" in texts(at)
    assert len(workloads.workloads(uow)) == 2


def test_a_query_set_is_uploaded_and_a_broken_one_names_its_line(
    seeded: Full, open_page: OpenPage
) -> None:
    uow, _ = seeded
    at = open_page("workload")
    at.session_state["workload_tabs"] = "Query sets"
    at.run()
    line = b'{"text": "What is 1 + 1?", "class": "easy", "reference": "2"}\n'
    at.text_input(key="query_set_name").set_value("mine")
    at.get_by_key("query_set_file").set_value(("mine.jsonl", line, "text/plain"))
    at.button(key="query_set_save").click().run()
    assert quality.query_set(uow, "mine").classes == ("easy",)
    at.get_by_key("query_set_file").set_value(("mine.jsonl", line + b"nonsense", "text/plain"))
    at.button(key="query_set_save").click().run()
    assert "Line 2 is not JSON" in texts(at)
    assert len(quality.query_set(uow, "mine").queries) == 1


def test_a_study_is_started_and_chosen(seeded: Full, open_page: OpenPage) -> None:
    uow, _ = seeded
    at = open_page("optimise")
    at.session_state["new_study"] = True
    at.run()
    at.text_input(key="study_name").set_value("Cheaper")
    at.number_input(key="study_floor").set_value(75.0)
    at.button(key="study_start").click().run()
    made = studies.studies(uow)[0]
    assert (made.name, made.limits.quality_floor) == ("Cheaper", 0.75)
    assert at.session_state["study_id"] == made.study_id
    assert any(job.kind is JobKind.OPTIMISE and job.active for job in jobs.jobs(uow))


def test_a_job_is_cancelled(uow: UnitOfWorkFactory, open_page: OpenPage) -> None:
    seed(uow, busy=True)
    waiting = next(job for job in jobs.jobs(uow) if job.state is JobState.QUEUED)
    at = open_page("overview")
    at.button(key=f"cancel_{waiting.job_id}").click().run()
    assert jobs.get(uow, waiting.job_id).state is JobState.CANCELLED


def test_a_plan_is_deployed_once_however_often_one_clicks(
    seeded: Full, open_page: OpenPage
) -> None:
    uow, known = seeded
    running = deployments.current(uow)
    assert running is not None
    plan = next(t for t in known.front if t.plan != running.plan)
    at = open_page("deploy", study_id=known.study_id, trial_number=plan.number)
    at.button(key="deploy_open").click().run()
    at.button(key="deploy_confirm").click().run()
    assert not at.exception
    current = deployments.current(uow)
    assert current is not None
    assert current.plan == plan.plan
    assert current.state is DeploymentState.ROLLING
    assert len(deployments.deployments(uow)) == 3
    assert "This plan is being rolled out" in texts(at)


def test_a_deployment_without_devices_is_refused_and_nothing_stops(
    seeded: Full, open_page: OpenPage
) -> None:
    uow, known = seeded
    before = deployments.current(uow)
    for device in inventory.devices(uow):
        inventory.set_enabled(uow, device.device_id, False)
    plan = next(t for t in known.front if before is None or t.plan != before.plan)
    at = open_page("deploy", study_id=known.study_id, trial_number=plan.number)
    at.button(key="deploy_open").click().run()
    at.button(key="deploy_confirm").click().run()
    assert at.error
    assert deployments.current(uow) == before


def test_serving_is_stopped_after_a_confirmation(seeded: Full, open_page: OpenPage) -> None:
    uow, _ = seeded
    at = open_page("deploy")
    at.button(key="stop_open").click().run()
    assert deployments.current(uow) is not None
    at.button(key="stop_confirm").click().run()
    assert deployments.current(uow) is None


def test_an_earlier_plan_comes_back(seeded: Full, open_page: OpenPage) -> None:
    uow, _ = seeded
    earlier = deployments.deployments(uow)[1]
    at = open_page("deploy")
    at.button(key="deploy_again").click().run()
    current = deployments.current(uow)
    assert current is not None
    assert current.plan == earlier.plan


def test_a_gateway_that_does_not_answer_is_named(
    seeded: Full, open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOUTE_GATEWAY_PORT", "1")
    at = open_page("deploy")
    at.button(key="ask_send").click().run()
    assert "does not answer" in texts(at)
