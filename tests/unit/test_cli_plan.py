"""`boute plan`, `boute simulate`, `boute scenario`: from a file to an answer, no database."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.domain.study import Limits
from core.entrypoints.cli import main
from core.ports import UnitOfWorkFactory
from core.scenario.facts import problem_of
from core.scenario.reading import files_beside, load_scenario
from core.settings import REPOSITORY
from db.migrate import upgrade
from db.unit_of_work import disconnect, uow_factory
from tests.contract.samples import trace
from tests.unit.planning_problems import NOW, two_models
from tests.unit.planning_world import fill
from tests.unit.scenario_texts import SMALL

PLAN = {
    "placement": [{"model": "m", "sku": "a10", "replicas": 1}],
    "routing": [{"query_class": "q", "model": "m", "share": 1.0}],
}
Out = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BOUTE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("BOUTE_DATABASE_URL", raising=False)
    return tmp_path / "home"


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def answer(arguments: list[str], capsys: Out, status: int = 0) -> dict[str, Any]:
    assert main([*arguments, "--json"]) == status
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_plan_is_found_without_a_database(scenario: Path, home: Path, capsys: Out) -> None:
    found = answer(["plan", str(scenario), "--sla", "2"], capsys)
    assert found["state"] == "done"
    assert found["limits"]["sla_p95_e2e_s"] == 2
    assert found["profiles"][0]["provenance"] == "imported"
    for entry in found["front"]:
        assert entry["predicted"]["estimator"] == "analytic"
        assert entry["simulated"]["estimator"] == "simulated"
        low, high = (entry["simulated"][f"p95_e2e_{end}_s"] for end in ("low", "high"))
        assert low <= entry["simulated"]["p95_e2e_s"] <= high
    assert any(entry["holds"] for entry in found["front"])
    assert not home.exists()


def test_the_front_is_printed_for_people(scenario: Path, capsys: Out) -> None:
    assert main(["plan", str(scenario)]) == 0
    printed = capsys.readouterr().out
    assert "m on a10: imported, step times given" in printed
    assert "1 x m on a10" in printed


def test_no_plan_is_a_status_and_a_reason(scenario: Path, capsys: Out) -> None:
    found = answer(["plan", str(scenario), "--floor", "0.99"], capsys, status=2)
    assert found["state"] == "infeasible"
    assert "quality floor" in found["message"]
    assert found["front"] == []
    why = found["infeasibility"]
    assert why["binding"] == ["quality floor"]
    floor = next(r for r in why["relaxations"] if r["limit"] == "quality floor")
    assert floor["now"] == 0.99
    again = answer(["plan", str(scenario), "--floor", str(floor["needed"])], capsys)
    assert again["front"]
    assert why["nearest"]["violation"] == pytest.approx(1 - floor["needed"] / 0.99, abs=0.01)
    assert main(["plan", str(scenario), "--floor", "0.99"]) == 2
    printed = capsys.readouterr().out
    assert "quality floor" in printed
    assert "does not help" in printed


def test_plans_that_are_not_sure_to_be_fast_enough_are_marked(scenario: Path, capsys: Out) -> None:
    found = answer(["plan", str(scenario), "--sla", "0.001"], capsys)
    assert not any(entry["offered"] for entry in found["front"])
    assert all("above the wanted" in entry["objections"][0] for entry in found["front"])
    assert found["infeasibility"]["latency_counts"]
    assert "wanted P95 latency" in found["infeasibility"]["binding"]
    offered = answer(["plan", str(scenario), "--sla", "60"], capsys)
    assert any(entry["offered"] for entry in offered["front"])
    assert offered["infeasibility"] is None


@pytest.mark.parametrize(
    ("mode", "limits"),
    [
        ("savings", ["--sla", "20"]),
        ("performance", ["--budget", "2"]),
        ("throughput", ["--budget", "2"]),
    ],
)
def test_a_mode_is_one_plan_beside_the_baselines(
    mode: str, limits: list[str], scenario: Path, capsys: Out
) -> None:
    found = answer(["plan", str(scenario), "--mode", mode, *limits], capsys)
    ours, *others = found["contenders"]
    assert ours["approach"] == "routing and placement together"
    assert ours["meets"]
    assert ours["gain"] is None
    assert len(others) == 4
    assert all(other["gain"] >= -1e-9 for other in others if other["gain"] is not None)
    assert main(["plan", str(scenario), "--mode", mode, *limits]) == 0
    assert "one model on one device type" in capsys.readouterr().out


def test_a_mode_without_a_plan_says_what_would_have_to_change(scenario: Path, capsys: Out) -> None:
    found = answer(["plan", str(scenario), "--mode", "savings", "--sla", "0.01"], capsys, 2)
    assert not found["contenders"][0]["meets"]
    assert found["infeasibility"]["latency_counts"]
    found = answer(["plan", str(scenario), "--mode", "performance", "--budget", "0.1"], capsys, 2)
    assert found["contenders"][0]["plan"] is None
    assert not found["infeasibility"]["latency_counts"]
    assert found["infeasibility"]["binding"] == ["budget"]


def test_a_plan_of_the_front_is_simulated_by_its_id(scenario: Path, capsys: Out) -> None:
    front = answer(["plan", str(scenario)], capsys)["front"]
    plan_id = front[0]["plan_id"]
    few = ["--requests", "200", "--seeds", "2"]
    found = answer(["simulate", str(scenario), "--plan", plan_id, *few], capsys)
    assert found["plan"] == front[0]["plan"]
    assert [c["query_class"] for c in found["classes"]] == ["all", "q"]
    assert found["classes"][0]["requests"] == 2 * 180
    assert found["kinds"][0]["requests_share"] == 1
    assert main(["simulate", str(scenario), "--plan", "nothing"]) == 1
    assert plan_id in capsys.readouterr().err


def test_a_plan_comes_from_a_file_or_the_scenario(scenario: Path, capsys: Out) -> None:
    assert main(["simulate", str(scenario)]) == 1
    assert "has no plan" in capsys.readouterr().err
    plan = scenario.with_name("plan.json")
    plan.write_text(json.dumps(PLAN))
    few = ["--requests", "200", "--seeds", "1"]
    by_file = answer(["simulate", str(scenario), "--plan", str(plan), *few], capsys)
    scenario.write_text(SMALL + yaml.safe_dump({"plan": PLAN}))
    assert answer(["simulate", str(scenario), *few], capsys)["score"] == by_file["score"]
    assert main(["simulate", str(scenario), *few]) == 0
    assert "TTFT P50/P95/P99" in capsys.readouterr().out


def test_a_plan_that_cannot_keep_up_is_a_status(scenario: Path, capsys: Out) -> None:
    text = SMALL.replace("rate_rps: 1.0", "rate_rps: 1000") + yaml.safe_dump({"plan": PLAN})
    scenario.write_text(text)
    found = answer(["simulate", str(scenario)], capsys, status=2)
    assert found["score"]["p95_e2e_s"] is None
    assert found["classes"] == []
    assert any("keep up" in text for text in found["score"]["violations"])


@pytest.mark.parametrize("wrong", [["--requests", "1"], ["--seeds", "0"], ["--seeds", "1000"]])
def test_absurd_sizes_are_refused(scenario: Path, wrong: list[str], capsys: Out) -> None:
    assert main(["simulate", str(scenario), *wrong]) == 1
    assert "seeds from 1" in capsys.readouterr().err


def test_a_broken_scenario_is_one_clear_line(scenario: Path, capsys: Out) -> None:
    scenario.write_text(SMALL.replace("a10: 1.0", "a10: free"))
    assert main(["plan", str(scenario)]) == 1
    told = capsys.readouterr().err
    assert "small.yaml cannot be used: prices_usd_per_hour.a10 (line 5)" in told
    assert "boute scenario schema" in told
    assert main(["plan", str(scenario.with_name("none.yaml"))]) == 1
    assert "cannot be read" in capsys.readouterr().err


def test_the_schema_is_json(capsys: Out) -> None:
    assert main(["scenario", "schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["properties"]["fleet"]["description"]


def test_a_stored_workload_is_exported_with_its_trace(
    tmp_path: Path, home: Path, capsys: Out
) -> None:
    home.mkdir()
    url = f"sqlite:///{home / 'boute.db'}"
    upgrade(url)
    uow: UnitOfWorkFactory = uow_factory(url)
    workload = fill(uow)
    with uow() as work:
        work.workloads.save_trace("w", trace())
        work.commit()
    output = tmp_path / "out.yaml"
    export = ["scenario", "export", "--workload", workload.name, "--output", str(output)]
    assert main([*export, "--floor", "0.5"]) == 0
    problem = problem_of(load_scenario(output), files_beside(output), NOW)
    assert problem.facts.limits == Limits(quality_floor=0.5)
    assert problem.facts.workload.classes == workload.classes
    assert set(problem.facts.profiles) == set(two_models().profiles)
    assert problem.trace is not None
    assert len(problem.trace) == len(trace())
    assert main(export) == 1
    assert "there already" in capsys.readouterr().err
    assert main(["scenario", "export", "--workload", "none"]) == 1
    assert workload.name in capsys.readouterr().err
    disconnect(url)


def test_the_example_of_the_documentation_runs(capsys: Out) -> None:
    example = REPOSITORY / "examples" / "two-gpus.yaml"
    few = ["--requests", "500", "--seeds", "2"]
    found = answer(["simulate", str(example), *few], capsys)
    assert found["feasible"]
    assert {c["query_class"] for c in found["classes"]} == {"all", "biology", "math", "law"}
