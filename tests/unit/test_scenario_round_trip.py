"""Facts written as a scenario and read again are the same facts."""

from array import array
from dataclasses import replace

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.plan import Route, make_plan
from core.domain.planning import PlanningFacts
from core.domain.trace import Trace
from core.scenario.facts import problem_of
from core.scenario.reading import no_files, read_scenario
from core.scenario.writing import as_yaml, scenario_of, trace_csv
from tests.unit.planning_problems import two_models
from tests.unit.scenario_texts import NOW, problems


def without_ids(facts: PlanningFacts) -> PlanningFacts:
    profiles = {kind: replace(p, profile_id="") for kind, p in facts.profiles.items()}
    return replace(
        facts,
        profiles=profiles,
        workload=replace(facts.workload, workload_id="", created_at=NOW),
    )


@settings(max_examples=60, deadline=None)
@given(problems())
def test_nothing_is_lost_or_changed(facts: PlanningFacts) -> None:
    text = as_yaml(scenario_of(facts))
    again = problem_of(read_scenario(text.encode()), no_files, NOW)
    assert without_ids(again.facts) == without_ids(facts)
    assert as_yaml(scenario_of(again.facts)) == text


@settings(max_examples=20, deadline=None)
@given(problems(), st.data())
def test_a_plan_is_kept(facts: PlanningFacts, data: st.DataObject) -> None:
    kinds = sorted(facts.profiles)
    placement = {kind: data.draw(st.integers(1, 9)) for kind in kinds}
    classes = [traffic.query_class for traffic in facts.workload.classes]
    routing = {name: {kinds[0].model: 0.25, kinds[-1].model: 0.75} for name in classes}
    escalating = [
        Route(c.query_class, c.model, 1.0, c.escalate_to, c.threshold) for c in facts.cascades
    ]
    plan = make_plan(placement, routing, escalating)
    text = as_yaml(scenario_of(facts, plan=plan))
    assert problem_of(read_scenario(text.encode()), no_files, NOW).plan == plan


def test_a_trace_is_kept_in_a_file_beside_it() -> None:
    facts = two_models()
    easy, hard = "easy", "hard"
    columns = array("d", [0.0, 0.125, 3.7]), array("q", [18, 9, 2]), array("q", [24, 1, 7])
    trace = Trace(*columns, array("q", [1, 0, 1]), (easy, hard))
    files = {"t.csv": trace_csv(trace).encode()}
    text = as_yaml(scenario_of(facts, trace_file="t.csv"))
    again = problem_of(read_scenario(text.encode()), files.__getitem__, NOW)
    assert again.trace is not None
    read = [again.trace.classes[k] for k in again.trace.query_class]
    assert read == [hard, easy, hard]
    assert again.trace.arrived_at_s == trace.arrived_at_s
    assert again.trace.input_tokens == trace.input_tokens
    assert again.trace.output_tokens == trace.output_tokens
    assert again.facts.workload.classes == facts.workload.classes


def test_a_written_scenario_is_plain_yaml_with_its_defaults_left_out() -> None:
    content = yaml.safe_load(as_yaml(scenario_of(two_models())))
    assert content["version"] == 1
    assert content["fleet"] == [{"sku": "cpu-core", "devices_per_node": 2}]
    assert "plan" not in content
    assert "tp" not in content["profiles"][0]
