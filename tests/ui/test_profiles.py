"""Profiles on the page: what they cost, what they found, how well the fitted model predicts."""

from dataclasses import replace

import pytest

from core.domain.ids import utc_now
from core.domain.profile import Profile
from core.ports import UnitOfWorkFactory
from core.services import inventory, profiles
from tests.ui.conftest import OpenPage, texts
from tests.ui.seed import Seeded, seed_fleet
from ui import charts_profiles, tables_profiles
from ui.formatting import usd

Full = tuple[UnitOfWorkFactory, Seeded]


def known(seeded: Full) -> list[Profile]:
    return profiles.latest_profiles(seeded[0])


def test_the_cost_is_told_before_the_click_and_follows_the_choice(
    seeded: Full, open_page: OpenPage
) -> None:
    at = open_page("models")
    before = texts(at)
    assert "14 s to start (as when last profiled)" in before
    assert "\\$0.040/h per device" in before
    assert "8 levels" in before
    at.number_input(key="profile_tp").set_value(2).run()
    assert "2 devices" in texts(at)
    at.segmented_control(key="profile_how").set_value("Chosen levels").run()
    at.multiselect(key="profile_levels").set_value([1, 2]).run()
    assert "2 levels" in texts(at)
    cost = profiles.profile_cost_estimate(
        seeded[0], "large", "cpu-core", known(seeded)[0].measured_at, tp=2, concurrencies=[1, 2]
    )
    assert cost.usd_per_hour == 0.04
    assert usd(cost.expected_usd).replace("$", "\\$") in texts(at)


def test_without_a_price_the_form_says_where_to_set_one(seeded: Full, open_page: OpenPage) -> None:
    uow, _ = seeded
    with uow() as work:
        device = work.devices.all()[0]
        work.devices.upsert([replace(device, device_id="other", sku="NVIDIA L4")])
        work.commit()
    at = open_page("models")
    at.selectbox(key="profile_sku").set_value("NVIDIA L4").run()
    assert "No price is set for this device type" in texts(at)


def test_what_was_fitted_is_told_in_words_and_units(seeded: Full, open_page: OpenPage) -> None:
    at = open_page("models")
    shown = {metric.label: metric.value for metric in at.metric}
    assert shown["Variance explained (R²)"] == "97.0 %"
    assert shown["Typical error, E2E"] == "± 4.3 %"
    assert shown["Cache"] == "174,592 tokens"
    times = next(frame.value for frame in at.dataframe if "takes_ms" in frame.value.columns)
    assert times["what"].iloc[0] == "Every step"
    assert times["takes_ms"].iloc[0] == pytest.approx(20.5)
    at.selectbox(key="profile_fit").set_value("small on cpu-core").run()
    times = next(frame.value for frame in at.dataframe if "takes_ms" in frame.value.columns)
    assert times["takes_ms"].iloc[0] == pytest.approx(6.6)


def test_how_sure_the_levels_are_is_told(seeded: Full, open_page: OpenPage) -> None:
    assert "2 of 3 levels are sure to ± 5 %, the least sure to ± 8 %." in texts(
        open_page("models")
    )


def test_a_climb_that_ended_before_throughput_did_says_so(
    seeded: Full, open_page: OpenPage
) -> None:
    uow, _ = seeded
    with uow() as work:
        for profile in work.profiles.latest():
            work.profiles.save(replace(profile, levels=profile.levels[:2]))
        work.commit()
    assert "Throughput still grew at 4 in flight" in texts(open_page("models"))


def test_a_profile_without_a_model_or_answers_is_shown_all_the_same(
    seeded: Full, open_page: OpenPage
) -> None:
    uow, _ = seeded
    with uow() as work:
        for profile in work.profiles.all():
            plain = replace(profile, step=None, fit=None, engine_limits=None)
            newer = replace(profile, profile_id="imported", measured_at=utc_now())
            work.profiles.save(plain if profile.model == "small" else newer)
        work.commit()
    at = open_page("models")
    assert "The single answers of this profile were not kept." in texts(at)
    assert at.selectbox(key="profile_fit").options == ["large on cpu-core"]


def test_nothing_is_asked_of_an_empty_form(uow: UnitOfWorkFactory, open_page: OpenPage) -> None:
    seed_fleet(uow)
    inventory.devices(uow)
    assert "a model is missing" in texts(open_page("models"))


def test_measured_points_stand_beside_the_fitted_line(seeded: Full) -> None:
    levels = tables_profiles.levels_frame(known(seeded))
    predicted = tables_profiles.predicted_frame(known(seeded))
    figure = charts_profiles.profile_curves(levels, predicted, "E2E mean")
    drawn = {trace.name: trace for trace in figure.data}
    points, line = drawn["large on cpu-core, measured"], drawn["large on cpu-core, fitted model"]
    assert list(points.text) == ["1", "4", "16"]
    assert points.mode == "markers+text"
    assert line.mode == "lines"
    assert (
        line.line.color == points.marker.color != drawn["small on cpu-core, measured"].marker.color
    )
    # Both ends of the line are the model's answer to the least and the most in flight.
    assert line.y[0] == pytest.approx(points.y[0], rel=0.3)
    assert len(line.x) == tables_profiles.POINTS


def test_percentiles_have_points_that_are_joined_and_no_line(seeded: Full) -> None:
    levels = tables_profiles.levels_frame(known(seeded))
    predicted = tables_profiles.predicted_frame(known(seeded))
    figure = charts_profiles.profile_curves(levels, predicted, "E2E P95")
    assert [trace.mode for trace in figure.data] == ["lines+markers+text"] * 2


def test_poisson_levels_are_marked_as_such(seeded: Full) -> None:
    [profile, *_] = known(seeded)
    opened = replace(profile.levels[0], rate_rps=1.5)
    frame = tables_profiles.levels_frame([replace(profile, levels=(*profile.levels, opened))])
    assert list(frame["load"]) == ["1 in flight", "4 in flight", "16 in flight", "1.50 arrivals/s"]
    figure = charts_profiles.profile_curves(
        frame, tables_profiles.predicted_frame([]), "TTFT mean"
    )
    assert [trace.name for trace in figure.data] == [
        f"{profile.model} on cpu-core, measured",
        f"{profile.model} on cpu-core, Poisson arrivals",
    ]


def test_residuals_are_of_every_answer(seeded: Full) -> None:
    uow, _ = seeded
    [profile, *_] = known(seeded)
    answers = profiles.residuals(uow, profile)
    assert len(answers) == 3 * 20 + 10 * (1 + 4 + 16)
    frame = tables_profiles.residuals_frame(answers)
    figure = charts_profiles.residuals(frame)
    assert [trace.name for trace in figure.data] == ["closed 1", "closed 4", "closed 16"]
    assert sum(len(trace.x) for trace in figure.data) == len(answers)
    one = answers[0]
    assert frame["error"].iloc[0] == pytest.approx(one.predicted_e2e_s / one.measured_e2e_s - 1)
    assert profiles.residuals(uow, replace(profile, step=None)) == []
