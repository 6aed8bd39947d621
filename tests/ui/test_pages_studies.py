"""What a study found, on the Optimise and Deploy pages: offers, folds, modes, ways out."""

from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from core.domain.comparison import Aim
from core.domain.infeasibility import Constraint, Infeasibility, NearestPlan, Relaxation
from core.domain.offer import objections
from core.domain.study import Study, StudyState, Trial
from core.ports import UnitOfWorkFactory
from core.services import deployments, studies
from tests.ui.conftest import OpenPage, texts
from tests.ui.seed import Seeded
from ui.components_comparison import verdict
from ui.components_infeasible import binding_in_words

Full = tuple[UnitOfWorkFactory, Seeded]


def stored(seeded: Full) -> tuple[UnitOfWorkFactory, Study, list[Trial]]:
    uow, known = seeded
    return uow, studies.study(uow, known.study_id), list(known.front)


def plan_numbers(at: AppTest) -> list[int]:
    frame = next(f.value for f in at.dataframe if "not_offered" in f.value.columns)
    return [int(number) for number in frame["number"]]


def test_folded_plans_wait_under_the_plan_they_are_like(seeded: Full, open_page: OpenPage) -> None:
    _, study, front = stored(seeded)
    folded = [t for t in front if t.alike is not None]
    over = next(t for t in front if t.number == folded[0].alike)
    at = open_page("optimise", study_id=study.study_id, trial_number=over.number)
    assert f"{len(folded)} of them differ from another by less than the noise" in texts(at)
    assert not {t.number for t in folded} & set(plan_numbers(at))
    mine = {t.number for t in folded if t.alike == over.number}
    assert any(f"{len(mine)} alike" in e.label for e in at.expander)
    at.toggle(key="every_plan").set_value(True).run()
    assert {t.number for t in folded} <= set(plan_numbers(at))


def test_a_folded_plan_names_the_one_it_is_like(seeded: Full, open_page: OpenPage) -> None:
    _, study, front = stored(seeded)
    folded = next(t for t in front if t.alike is not None)
    at = open_page("optimise", study_id=study.study_id, trial_number=folded.number)
    assert f"Plan {folded.alike} costs no more" in texts(at)


def not_offered(study: Study, front: list[Trial]) -> Trial:
    return next(t for t in front if objections(t.score, study.limits))


def test_a_plan_that_is_not_sure_says_why(seeded: Full, open_page: OpenPage) -> None:
    _, study, front = stored(seeded)
    late = not_offered(study, front)
    at = open_page("optimise", study_id=study.study_id, trial_number=late.number)
    assert "Not offered" in texts(at)
    assert "above the wanted 4 s" in texts(at)


def test_the_suggested_plan_is_sure(seeded: Full, open_page: OpenPage) -> None:
    _, study, front = stored(seeded)
    at = open_page("optimise", study_id=study.study_id, trial_number=None)
    at.button(key="choose_cheapest").click().run()
    chosen = next(t for t in front if t.number == at.session_state["trial_number"])
    assert not objections(chosen.score, study.limits)


@pytest.mark.parametrize("reason", ["", "The event is today."])
def test_deploying_against_advice_takes_a_reason(
    reason: str, seeded: Full, open_page: OpenPage
) -> None:
    uow, study, front = stored(seeded)
    late, before = not_offered(study, front), deployments.current(uow)
    at = open_page("deploy", study_id=study.study_id, trial_number=late.number)
    at.button(key="deploy_open").click().run()
    at.text_input(key="deploy_override").set_value(reason)
    at.button(key="deploy_confirm").click().run()
    assert not at.exception
    current = deployments.current(uow)
    assert current is not None
    if reason:
        assert current.plan == late.plan
        assert current.override.startswith(reason)
        assert "above the wanted 4 s" in current.override
    else:
        assert current == before
        assert "not offered for deployment" in texts(at)


def test_an_offered_plan_asks_for_no_reason(seeded: Full, open_page: OpenPage) -> None:
    _, study, front = stored(seeded)
    sure = next(t for t in front if not objections(t.score, study.limits))
    at = open_page("deploy", study_id=study.study_id, trial_number=sure.number)
    if any(button.key == "deploy_open" for button in at.button):
        at.button(key="deploy_open").click().run()
    assert not [box for box in at.text_input if box.key == "deploy_override"]


def test_modes_are_shown_beside_the_baselines(seeded: Full, open_page: OpenPage) -> None:
    _, study, _ = stored(seeded)
    at = open_page("optimise", study_id=study.study_id, trial_number=None)
    assert "What joint planning brings" in texts(at)
    assert "the same fleet, requests and simulator. Predicted, not measured" in texts(at)
    assert "routing first, then placement) does as well here" in texts(at)
    assert "2 of the others find no plan within the limits" in texts(at)
    table = next(f.value for f in at.dataframe if "gain" in f.value.columns)
    assert table["gain"].iloc[1] == "BOute costs 33 % less"
    mode = f"mode_{study.study_id[:8]}"
    at.segmented_control(key=mode).set_value("Fastest within budget").run()
    assert "has a P95 of" in texts(at)
    best = next(c for c in study.comparisons if c.aim is Aim.LATENCY).best
    at.button(key="choose_mode").click().run()
    chosen = studies.trials(seeded[0], study.study_id)[at.session_state["trial_number"]]
    assert chosen.plan == best.plan


def test_the_verdict_says_how_far_ahead_of_the_strongest(seeded: Full) -> None:
    _, study, _ = stored(seeded)
    comparison = study.comparisons[0]
    ahead = replace(comparison, contenders=comparison.contenders[:2])
    assert "Against the strongest of the others" in verdict(ahead)
    assert "BOute costs 33 % less" in verdict(ahead)
    none = replace(comparison.best, meets=False, note="Its P95 is above 1 s.")
    nobody = replace(comparison, contenders=(none, *comparison.baselines))
    assert "No plan was found" in verdict(nobody)
    assert "Its P95 is above 1 s." in verdict(nobody)


def infeasible(study: Study, trial: Trial) -> Study:
    """The seeded study with limits that nothing keeps."""
    found = Infeasibility(
        False,
        (
            Relaxation(Constraint.FLOOR, "", 0.99, 0.91, trial.plan, trial.score),
            Relaxation(Constraint.BUDGET, "", 0.05, 0.1234, trial.plan, trial.score),
            Relaxation(Constraint.DEVICES, "cpu-core", 8.0, 12.0, trial.plan, trial.score),
            Relaxation(Constraint.TRAFFIC, "", 5.0, None),
        ),
        NearestPlan(trial.plan, trial.score, 0.081),
    )
    limits = replace(study.limits, quality_floor=0.99, budget_usd_per_hour=0.05)
    return replace(
        study,
        study_id="hard",
        limits=limits,
        state=StudyState.INFEASIBLE,
        message="No routing reaches the floor.",
        infeasibility=found,
        comparisons=(),
    )


def test_what_would_have_to_change_is_a_table_with_ways_out(
    seeded: Full, open_page: OpenPage
) -> None:
    uow, study, front = stored(seeded)
    with uow() as work:
        work.studies.save(infeasible(study, front[0]))
        work.commit()
    at = open_page("optimise", study_id="hard", trial_number=None)
    assert "quality floor, budget or devices cpu-core" in texts(at)
    table = next(f.value for f in at.dataframe if "needed" in f.value.columns)
    assert list(table["needed"]) == ["91.0 %", "$0.1234/h", "12", "does not help alone"]
    assert "Nearest plan" in texts(at)
    assert "exceeds the limits by 8 % in sum" in texts(at)
    at.button(key="relax_budget").click().run()
    assert not at.exception
    assert at.number_input(key="study_budget").value == pytest.approx(0.1234)
    assert at.number_input(key="study_floor").value == pytest.approx(99.0)
    assert not [w for w in at.warning if "default value" in w.value]
    at.button(key="study_start").click().run()
    made = studies.studies(uow)[0]
    assert made.limits.budget_usd_per_hour == pytest.approx(0.1234)
    assert made.limits.sla_p95_e2e_s == study.limits.sla_p95_e2e_s


def test_limits_that_only_give_way_together_are_said_so(seeded: Full) -> None:
    _, study, front = stored(seeded)
    found = infeasible(study, front[0]).infeasibility
    assert found is not None
    none = replace(found, relaxations=(found.relaxations[-1],), latency_counts=True)
    assert "Changing one limit alone does not help" in binding_in_words(none)
    assert "sure to keep the wanted latency" in binding_in_words(none)
