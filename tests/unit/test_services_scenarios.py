"""Scenario files out of a database and into one: nothing that was measured is overwritten."""

from datetime import timedelta

import pytest
import yaml

from core.domain.fleet import price_in_force
from core.domain.plan import ReplicaKind, make_plan
from core.domain.profile import Provenance
from core.domain.study import Limits
from core.errors import InvalidInput, NotFound
from core.ports import UnitOfWorkFactory
from core.scenario.facts import problem_of
from core.scenario.reading import no_files, read_scenario
from core.services import planning, scenarios, studies
from core.services.whatif import Change
from tests.unit.planning_problems import NOW, two_models
from tests.unit.planning_world import fill
from tests.unit.scenario_texts import SMALL

LATER = NOW + timedelta(hours=1)
ALL_LARGE = {name: {"large": 1.0} for name in ("easy", "medium", "hard")}


def test_a_study_is_exported_with_its_plan_and_a_change(sqlite_uow: UnitOfWorkFactory) -> None:
    fill(sqlite_uow)
    study = studies.create_study(sqlite_uow, "Mine", "w", Limits(0.5, None, 2.0), NOW)
    plan = make_plan({ReplicaKind("large", "cpu-core"): 3}, ALL_LARGE)
    change = Change(price_factor=2.0, traffic_factor=0.5, devices={"cpu-core": 5})
    text = scenarios.export_scenario(sqlite_uow, study.study_id, LATER, plan=plan, change=change)
    problem = problem_of(read_scenario(text.encode()), no_files, LATER)
    known = planning.load_facts(sqlite_uow, "w", study.limits, LATER)
    assert problem.plan == plan
    assert problem.facts.limits == study.limits
    assert problem.facts.price_usd_per_hour == {"cpu-core": 0.08}
    assert sum(problem.facts.devices_per_node["cpu-core"]) == 5
    assert problem.facts.workload.rate_rps == pytest.approx(known.workload.rate_rps / 2)
    assert problem.facts.quality == known.quality
    assert yaml.safe_load(text)["models"][0]["max_model_len"] == 256
    with pytest.raises(NotFound):
        scenarios.export_scenario(sqlite_uow, "none", LATER)


def test_an_import_into_an_empty_database_says_what_is_missing(
    sqlite_uow: UnitOfWorkFactory,
) -> None:
    summary = scenarios.import_scenario(sqlite_uow, SMALL.encode(), NOW)
    with sqlite_uow() as work:
        (profile,) = work.profiles.all()
        (estimate,) = work.outcomes.estimates()
        (workload,) = work.workloads.all()
        price = price_in_force(work.prices.all(), "a10", NOW)
    assert profile.provenance is Provenance.IMPORTED
    assert profile.levels, "the profile had step times only; it is given levels"
    assert estimate.mean == 0.8
    assert workload == summary.workload
    assert workload.provenance is Provenance.IMPORTED
    assert price is not None
    assert price.usd_per_hour == 1.0
    assert summary.kept == ()
    assert any("m is not registered" in text for text in summary.missing)
    assert any("no a10" in text for text in summary.missing)
    assert "Models & profiling" in summary.in_words


def test_an_import_replaces_nothing(sqlite_uow: UnitOfWorkFactory) -> None:
    facts = two_models(devices=3)
    fill(sqlite_uow, facts)
    before = planning.load_facts(sqlite_uow, "w", Limits(), LATER)
    text = scenarios.export_workload(sqlite_uow, "w", Limits(), LATER)
    content = yaml.safe_load(text)
    content["prices_usd_per_hour"]["cpu-core"] = 7.0
    content["quality"][0].update(mean=0.5, lower=0.4, upper=0.6)
    content["profiles"][0]["levels"][0]["e2e_ms"]["mean"] *= 2
    changed = yaml.safe_dump(content).encode()
    summary = scenarios.import_scenario(sqlite_uow, changed, LATER)
    after = planning.load_facts(sqlite_uow, "w", Limits(), LATER)
    assert after == before
    assert any("$0.04/h in force is kept" in text for text in summary.kept)
    assert any("is kept; the file says 0.500" in text for text in summary.kept)
    added = [text for text in summary.stored if text.startswith("Profile")]
    assert [text.endswith("added as imported.") for text in added] == [True, False]
    assert summary.missing == ()


def test_the_same_file_twice_adds_profiles_once(sqlite_uow: UnitOfWorkFactory) -> None:
    scenarios.import_scenario(sqlite_uow, SMALL.encode(), NOW)
    summary = scenarios.import_scenario(sqlite_uow, SMALL.encode(), LATER)
    assert any("known already" in text for text in summary.stored)
    with sqlite_uow() as work:
        assert len(work.profiles.all()) == 1


def test_a_refused_file_changes_nothing(sqlite_uow: UnitOfWorkFactory) -> None:
    for content in (b"", b"a: [", SMALL.replace("mean: 0.8", "mean: 8").encode()):
        with pytest.raises(InvalidInput):
            scenarios.import_scenario(sqlite_uow, content, NOW)
    with sqlite_uow() as work:
        assert work.workloads.all() == work.profiles.all() == []
