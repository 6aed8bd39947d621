"""Scored answers are taken in, judged and checked on Workload & quality."""

from dataclasses import replace
from datetime import timedelta

import pytest

from core.domain.check import LiveCheck
from core.domain.ids import utc_now
from core.domain.job import JobKind, JobState
from core.domain.profile import Provenance
from core.domain.quality import Outcome, QualityEstimate
from core.ports import UnitOfWorkFactory
from core.services import jobs, quality
from tests.ui.conftest import OpenPage, texts
from tests.ui.seed import Seeded

Full = tuple[UnitOfWorkFactory, Seeded]
CSV = b"query,model,score,class\na?,elsewhere,1,chat\nb?,elsewhere,0,chat\n"


def test_scored_answers_are_taken_in_and_explained(seeded: Full, open_page: OpenPage) -> None:
    uow, _ = seeded
    at = open_page("workload")
    at.get_by_key("outcomes_file_0").set_value([("o.csv", CSV, "text/csv")])
    at.button(key="outcomes_start").click().run()
    assert not at.exception
    [made] = [e for e in quality.estimates(uow) if e.model == "elsewhere"]
    assert (made.query_class, made.n, made.provenance) == ("chat", 2, Provenance.IMPORTED)
    assert "2 scored answers of elsewhere in 1 query classes were taken in (score)." in texts(at)
    assert "No model 'elsewhere' is registered" in texts(at).replace("\\", "")


def test_a_bad_row_is_named(seeded: Full, open_page: OpenPage) -> None:
    at = open_page("workload")
    broken = CSV + b"c?,elsewhere,34,chat\n"
    at.get_by_key("outcomes_file_0").set_value([("o.csv", broken, "text/csv")])
    at.button(key="outcomes_start").click().run()
    assert "Row 4: the score '34' is not between 0 and 1." in texts(at)
    assert "Divide percentages by 100" in texts(at)


def test_judging_waits_for_its_turn_and_tells_its_cost(seeded: Full, open_page: OpenPage) -> None:
    uow, _ = seeded
    at = open_page("workload")
    at.text_input(key="judge_url").set_value("http://127.0.0.1:9/v1")
    at.text_input(key="judge_model").set_value("wise")
    at.number_input(key="judge_input_price").set_value(3.0)
    at.button(key="judge_start").click().run()
    assert not at.exception
    job = next(job for job in jobs.jobs(uow) if job.kind is JobKind.JUDGE)
    assert job.params["judge"]["base_url"] == "http://127.0.0.1:9/v1"
    assert "comparisons, about" in texts(at)
    assert "at most about" in texts(at)


def test_a_judge_without_a_usable_address_is_refused(seeded: Full, open_page: OpenPage) -> None:
    uow, _ = seeded
    at = open_page("workload")
    at.text_input(key="judge_url").set_value("judge.example.com")
    at.text_input(key="judge_model").set_value("wise")
    at.button(key="judge_start").click().run()
    assert "begins with neither" in texts(at)
    assert not [job for job in jobs.jobs(uow) if job.kind is JobKind.JUDGE]


def test_what_the_last_judge_was_like_is_shown(seeded: Full, open_page: OpenPage) -> None:
    uow, _ = seeded
    result = {
        "n": 40,
        "agreement": 0.85,
        "agreement_lower": 0.7,
        "agreement_upper": 0.93,
        "first_shown": None,
        "unreadable": 1,
        "input_tokens": 9000,
        "output_tokens": 800,
        "cost_usd": 0.031,
    }
    job = jobs.enqueue(uow, JobKind.JUDGE, "Judge small on chat by wise", {}, utc_now())
    with uow() as work:
        changes = {"result": result, "finished_at": utc_now()}
        assert work.jobs.transition(job.job_id, [JobState.QUEUED], JobState.SUCCEEDED, changes)
        work.commit()
    at = open_page("workload")
    assert not at.exception
    shown = {metric.label: metric.value for metric in at.metric}
    assert shown["Both orders agree"] == "85 %"
    assert shown["Prefers the first shown"] == "unknown"
    assert shown["Unreadable verdicts"] == "1"


@pytest.mark.parametrize("page", ["overview", "workload"])
def test_a_breach_in_live_traffic_is_told(seeded: Full, open_page: OpenPage, page: str) -> None:
    uow, _ = seeded
    now = utc_now()
    check = LiveCheck(now, "chat", "small", "large", "numeric", agrees=False)
    with uow() as work:
        for model in ("small", "large"):
            at_first = now - timedelta(days=1)
            work.outcomes.save_estimate(
                QualityEstimate(model, "chat", 40, 1.0, 0.9, 1.0, 9.0, at_first, "numeric")
            )
            work.outcomes.add([Outcome(f"q{i}", "chat", model, 1.0, 9, "j") for i in range(40)])
        work.checks.add_live([replace(check, agrees=i % 3 == 0) for i in range(90)])
        work.commit()
    at = open_page(page)
    assert not at.exception
    assert "small in class chat: 33 % of 90 live answers" in texts(at).replace("%", " %").replace(
        "  %", " %"
    )
    assert "go back to an earlier plan" in texts(at)
