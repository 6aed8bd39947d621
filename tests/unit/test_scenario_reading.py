"""Scenario files: what is refused, in which words, and that nothing a file holds does harm."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import BOuteError, InvalidInput
from core.scenario.facts import Problem, problem_of
from core.scenario.reading import files_beside, load_plan, load_scenario, no_files, read_scenario
from core.scenario.schema import Scenario, json_schema
from core.scenario.yaml_values import MAX_BYTES
from core.settings import REPOSITORY
from tests.unit.scenario_texts import NOW, SMALL

CHAIN = "\n".join(
    f"{name}: &{name} [{', '.join([value] * 9)}]"
    for name, value in zip(
        "abcdefgh", ["x", "*a", "*b", "*c", "*d", "*e", "*f", "*g"], strict=True
    )
)


def problem(text: str) -> Problem:
    return problem_of(read_scenario(text.encode()), no_files, NOW)


def refused(text: str) -> str:
    with pytest.raises(InvalidInput) as caught:
        problem(text)
    assert caught.value.hint
    return caught.value.message


def test_a_small_scenario_is_read() -> None:
    facts = problem(SMALL).facts
    assert facts.devices_per_node == {"a10": (2,)}
    assert facts.models == ("m",)
    estimate = facts.quality["m", "q"]
    assert estimate.lower == pytest.approx(0.711, abs=0.001), "Wilson's for 80 of 100"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("devices_per_node: 2", "devices_per_node: 0", ["fleet.0.devices_per_node", "line 3"]),
        ("a10: 1.0", "a10: -1", ["prices_usd_per_hour.a10", "line 5"]),
        ("a10: 1.0", "a10: .nan", ["prices_usd_per_hour.a10", "finite"]),
        ("a10: 1.0", "b10: 1.0", ["prices_usd_per_hour", "'a10'", "no price"]),
        ("version: 1", "version: 2", ["version", "line 1"]),
        ("mean: 0.8", "mean: 80", ["quality.0.mean", "line 14"]),
        ("mean: 0.8", "mean: 0.8, lower: 0.9", ["quality.0", "lower must be at most mean"]),
        ("mean: 0.8", "mean: 0.8, median: 1", ["quality.0.median", "not permitted"]),
        ("query_class: q, n", "query_class: r, n", ["quality", "every class"]),
        ("model: m, query", "model: n, query", ["quality.0.model", "'n'", "`models`"]),
        ("fixed_s: 0.01", "fixed_s: fast", ["profiles.0.step.fixed_s", "line 11"]),
        ("  - {name: m,", "  - {name: m, max_model_len: 100,", ["models.0.max_model_len"]),
        ("rate_rps: 1.0", "rate_rps: 0", ["workload", "rate_rps above zero"]),
        ("    engine_limits:", "    levels: []\n    fit:", ["profiles.0"]),
        ("workload:", "workloads:", ["workload", "required", "workloads", "not permitted"]),
    ],
)
def test_a_wrong_field_is_named_by_path_and_line(old: str, new: str, words: list[str]) -> None:
    assert old in SMALL
    message = refused(SMALL.replace(old, new))
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("[1, 2]", "named sections"),
        ("a: [", "not YAML"),
        ("a: 1\n--- \nb: 2", "not YAML"),
        ("a: 1\nb: 2\na: 3", "'a' twice (line 3)"),
        ("? [1]\n: 2", "not plain text"),
        ("<<: {a: 1}", "not plain text"),
        ("a: !!python/object/apply:os.system [ls]", "tag"),
        ("a: !mine x", "tag"),
        ("a: 2020-13-45", "cannot be read"),
        ("a: " + "9" * 6000, "cannot be read"),
        ("a: &a [*a]", "contains itself"),
        (CHAIN, "too many values"),
        ("[" * 100_000, "nested"),
        ("{a: " * 5_000, "nested"),
        ("x" * (MAX_BYTES + 1), "MiB"),
    ],
)
def test_yaml_that_is_not_plain_is_refused(text: str, words: str) -> None:
    assert words in refused(text)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(InvalidInput, match="UTF-8"):
        read_scenario(b"\xff\xfe\x00")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400) | st.text(max_size=400).map(str.encode))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with suppress(BOuteError):
        read_scenario(content)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_scenario_with_anything_in_it_is_read_or_refused(data: st.DataObject) -> None:
    content = yaml.safe_load(SMALL)
    place, path = content, []
    while isinstance(place, dict | list) and place and (not path or data.draw(st.booleans())):
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        path.append(data.draw(st.sampled_from(list(keys))))
        place = place[path[-1]]
    target = content
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = data.draw(trees)
    text = yaml.safe_dump(content, allow_unicode=True)
    with suppress(BOuteError):
        problem(text)


def test_files_stay_inside_the_scenarios_folder(tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "secret.csv").write_text("x")
    (folder / "beside.csv").write_text("y")
    (folder / "link.csv").symlink_to(tmp_path / "secret.csv")
    read = files_beside(folder / "scenario.yaml")
    assert read("beside.csv") == b"y"
    for name in ("../secret.csv", str(tmp_path / "secret.csv"), "link.csv"):
        with pytest.raises(InvalidInput, match="outside"):
            read(name)
    for name in ("missing.csv", "."):
        with pytest.raises(InvalidInput, match="cannot be read"):
            read(name)
    with pytest.raises(InvalidInput, match="cannot be a file name"):
        read("a\0b")


def test_an_uploaded_scenario_cannot_name_files() -> None:
    text = SMALL.replace("workload:\n", "workload:\n  trace: {file: t.csv}\n")
    with pytest.raises(InvalidInput, match=r"t\.csv"):
        problem(text)


def test_a_trace_makes_the_workload(tmp_path: Path) -> None:
    rows = "".join(f"{i * 0.5},{20 + i % 3},{10 + i % 7},q\n" for i in range(40))
    (tmp_path / "t.csv").write_text("arrived_at_s,input_tokens,output_tokens,class\n" + rows)
    start = SMALL.index("  classes:")
    path = tmp_path / "scenario.yaml"
    path.write_text(SMALL[:start] + "  trace: {file: t.csv}\n")
    found = problem_of(load_scenario(path), files_beside(path), NOW)
    assert found.trace is not None
    assert found.facts.workload.rate_rps == pytest.approx(2.0)
    assert found.facts.workload.trace_requests == 40
    (tmp_path / "t.csv").write_text("nonsense")
    with pytest.raises(InvalidInput, match=r"workload\.trace\.file"):
        problem_of(load_scenario(path), files_beside(path), NOW)


def test_a_profile_may_be_estimated_from_a_config(tmp_path: Path) -> None:
    config = {
        "model_type": "llama",
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "vocab_size": 128256,
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    content = yaml.safe_load(SMALL)
    content["profiles"] = [{"config": "config.json", "model": "m", "sku": "a10"}]
    path = tmp_path / "scenario.yaml"
    path.write_text(yaml.safe_dump(content))
    facts = problem_of(load_scenario(path), files_beside(path), NOW).facts
    (made,) = facts.profiles.values()
    assert (made.sku, made.provenance.value) == ("a10", "predicted")
    assert made.engine_limits is not None
    assert made.engine_limits.max_num_seqs == 8
    content["profiles"][0]["sku"] = "abacus"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(InvalidInput, match=r"profiles\.0: .*abacus"):
        problem_of(load_scenario(path), files_beside(path), NOW)


def test_a_measured_profile_stands_before_an_imported_one() -> None:
    content = yaml.safe_load(SMALL)
    imported = content["profiles"][0]
    content["profiles"] = [{**imported, "provenance": "measured", "host": "here"}, imported]
    (profile,) = problem(yaml.safe_dump(content)).facts.profiles.values()
    assert profile.host == "here"


def test_what_cannot_be_used_is_said() -> None:
    content = yaml.safe_load(SMALL)
    content["models"].append({"name": "n"})
    content["profiles"] += [
        {**content["profiles"][0], "model": "n"},
        {**content["profiles"][0], "sku": "h100"},
    ]
    notes = problem(yaml.safe_dump(content)).notes
    assert any("n is left out" in note for note in notes)
    assert any("h100" in note for note in notes)


def test_a_plan_alone_is_read_from_yaml_or_json(tmp_path: Path) -> None:
    plan = {
        "placement": [{"model": "m", "sku": "a10", "replicas": 2}],
        "routing": [{"query_class": "q", "model": "m", "share": 1.0}],
    }
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan))
    assert load_plan(path).placement[0].replicas == 2
    path.write_text(json.dumps({**plan, "routing": []}))
    with pytest.raises(InvalidInput, match="routing"):
        load_plan(path)
    with pytest.raises(InvalidInput, match="cannot be read"):
        load_plan(tmp_path / "none.yaml")


def test_every_field_of_the_schema_is_described() -> None:
    schema = json_schema()
    parts = {"Scenario": schema, **schema["$defs"]}
    silent = [
        f"{part}.{name}"
        for part, content in parts.items()
        for name, field in content.get("properties", {}).items()
        if "description" not in field
    ]
    assert silent == []


@pytest.mark.parametrize("path", sorted((REPOSITORY / "examples").glob("*.yaml")), ids=str)
def test_examples_can_be_used(path: Path) -> None:
    scenario = load_scenario(path)
    assert isinstance(scenario, Scenario)
    assert problem_of(scenario, files_beside(path), NOW).plan is not None
