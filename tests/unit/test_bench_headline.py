"""The headline benchmark: that nothing leaks into it, and that its sums are what they say."""

import argparse
import csv
import json
import math
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.plan import ReplicaKind, make_plan
from core.entrypoints.bench import headline
from core.entrypoints.bench.headline_data import PRICES, QUESTIONS, TRACE
from core.entrypoints.bench.headline_quality import (
    BANDS,
    MODELS,
    Questions,
    bands_of,
    out_of_fold,
    questions_in,
)
from core.entrypoints.bench.headline_settings import (
    FLEETS,
    FLOORS,
    RATES,
    SLAS,
    Published,
    Setting,
    in_classes,
    p95_alone_s,
)
from core.entrypoints.bench.headline_settings import settings as settings_of
from core.entrypoints.bench.headline_speeds import LARGE, SMALL, speeds
from core.entrypoints.bench.headline_tables import averages, text
from core.entrypoints.bench.published import AICONFIGURATOR
from core.errors import NotFound
from core.routing.features import features
from core.settings import REPOSITORY, load_settings

PUBLISHED = REPOSITORY.parent / "shared" / "data"
COLUMNS = (
    *("model", "system", "tp", "batch_size", "isl", "osl", "ctx_tokens"),
    *("tpot_ms", "kv_cache_oom"),
)
COSTS = st.tuples(
    st.floats(1e-3, 0.1), st.floats(1e-6, 1e-3), st.floats(1e-9, 1e-6), st.floats(1e-6, 1e-3)
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the published files, cut to every fifth question."""
    if not PUBLISHED.is_dir():
        pytest.skip("the published files are not here")
    folder = tmp_path_factory.mktemp("data")
    for file in (AICONFIGURATOR, TRACE, PRICES):
        (folder / file).symlink_to(PUBLISHED / file)
    questions = pq.read_table(PUBLISHED / QUESTIONS)
    pq.write_table(questions.take(list(range(0, len(questions), 5))), folder / QUESTIONS)
    return folder


@pytest.fixture(scope="module")
def published(data: Path) -> Published:
    return Published(data, seed=1)


# Speeds


def slow_tpot_s(cost: tuple[float, ...], held: int, inputs: int, outputs: int) -> float:
    """Walk through a request's steps one by one, as the table's authors do."""
    with_prompts = 0 if held == 1 else math.ceil(held * inputs / 2048)
    times = []
    for number in range(outputs):
        prompts = number < with_prompts
        if not prompts:
            decoding, begun = float(held), 0.0
        elif with_prompts >= outputs:
            decoding = max(1.0, held * outputs / with_prompts)
            begun = min(2048 / inputs, held)
        else:
            decoding = max(0.0, held - math.ceil(2048 / inputs))
            begun = min(2048 / inputs, held)
        context = decoding * (inputs + outputs / 2)
        counted = (1.0, decoding + begun, context, 2048.0 if prompts else 0.0)
        times.append(sum(c * n for c, n in zip(cost, counted, strict=True)))
    if 0 < with_prompts < outputs:
        del times[: min(3, with_prompts - 1)]
    return sum(times) / len(times)


def table(folder: Path, cost: tuple[float, ...], **changes: str) -> Path:
    rows = []
    for held in (1, 2, 8, 64, 256):
        for inputs in (128, 512, 2048):
            for outputs in (32, 128, 512):
                tpot_ms = 1000 * slow_tpot_s(cost, held, inputs, outputs)
                fixed = ("meta-llama/Meta-Llama-3.1-8B", "h100_sxm", 1)
                cells = (*fixed, held, inputs, outputs, 2048, tpot_ms, 0)
                rows.append(dict(zip(COLUMNS, cells, strict=True)) | changes)
    path = folder / "perf_aiconfigurator_predicted.csv"
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not file.tell():
            writer.writeheader()
        writer.writerows(rows)
    return folder


@settings(max_examples=25, deadline=None)
@given(cost=COSTS)
def test_the_step_time_behind_a_table_is_found(
    cost: tuple[float, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = table(tmp_path_factory.mktemp("table"), cost)
    (kind, found), *others = speeds(folder).items()
    assert kind == ReplicaKind(SMALL, "H100-SXM-80GB")
    assert not others
    assert found.rows == 45
    assert found.p90_error < 1e-6
    step = found.profile.step
    assert step is not None
    for held, inputs, outputs in ((4, 300, 100), (100, 1000, 200)):
        fitted = (
            step.fixed_s,
            step.per_sequence_s,
            step.per_context_token_s,
            step.per_prefill_token_s,
        )
        expected = slow_tpot_s(cost, held, inputs, outputs)
        assert slow_tpot_s(fitted, held, inputs, outputs) == pytest.approx(expected, rel=1e-5)


def test_other_models_and_loads_out_of_memory_are_left_out(tmp_path: Path) -> None:
    cost = (0.01, 1e-5, 1e-8, 2e-5)
    table(tmp_path, cost)
    alone = speeds(tmp_path)
    table(tmp_path, (9.0, 1.0, 1.0, 1.0), kv_cache_oom="1")
    table(tmp_path, (9.0, 1.0, 1.0, 1.0), model="Qwen/Qwen3-8B")
    assert speeds(tmp_path) == alone


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="perf_aiconfigurator_predicted"):
        speeds(tmp_path)
    with pytest.raises(NotFound, match="quality_mmlu_pro"):
        questions_in(tmp_path)


# Quality


def made_up(count: int = 900) -> Questions:
    """Long sums are harder; a third of the questions is there twice."""
    dice = np.random.default_rng(5)
    length = dice.integers(1, 9, count)
    texts = [f"{'9' * digits} + {i} = ?" for i, digits in enumerate(length)]
    groups = np.arange(count)
    for i in range(0, count, 3):
        texts[i + 1], groups[i + 1] = texts[i], groups[i]
    _, groups = np.unique(groups, return_inverse=True)
    chance = np.stack([1.0 - length / 10, 1.1 - length / 20], axis=1)
    rows = np.stack([features(text) for text in texts])
    return Questions(rows, groups, (dice.random((count, 2)) < chance).astype(float))


def test_outcomes_of_traffic_are_not_looked_at() -> None:
    asked = made_up()
    before = bands_of(asked, seed=3)
    assert 0.25 < len(before.traffic) / len(asked) < 0.42
    flipped = asked.right.copy()
    flipped[before.traffic] = 1 - flipped[before.traffic]
    after = bands_of(replace(asked, right=flipped), seed=3)
    assert after.estimates == before.estimates
    assert (after.traffic_class == before.traffic_class).all()
    assert (after.traffic_right == 1 - before.traffic_right).all()


def test_equal_questions_stay_together() -> None:
    asked = made_up()
    traffic = set(bands_of(asked, seed=3).traffic.tolist())
    for i in range(0, len(asked), 3):
        assert (i in traffic) == (i + 1 in traffic)


def test_no_question_is_judged_by_its_own_outcome() -> None:
    dice = np.random.default_rng(2)
    rows = dice.standard_normal((300, 5)).astype(np.float32)
    right = (rows[:, 0] + dice.standard_normal(300) > 0).astype(float)
    fold = dice.integers(0, 5, 300)
    before = out_of_fold(rows, right, fold)
    for number in range(5):
        own = fold == number
        after = out_of_fold(rows, np.where(own, 1 - right, right), fold)
        assert (after[own] == before[own]).all()
        assert (after[~own] != before[~own]).all()


def test_bands_tell_easy_from_hard_questions() -> None:
    found = bands_of(made_up(), seed=3)
    small = [found.estimates[SMALL, name].mean for name in found.names]
    assert small[-1] > small[0] + 0.2
    assert found.auc > 0.65
    assert found.known[:, 0].sum() + len(found.traffic_class) == 900
    assert np.ptp(found.known[:, 0]) <= 0.3 * found.known[:, 0].max()


def test_realised_quality_is_that_of_the_traffic() -> None:
    asked = made_up()
    found = bands_of(asked, seed=3)
    routing = {
        name: {SMALL: k / (BANDS - 1), LARGE: 1 - k / (BANDS - 1)}
        for k, name in enumerate(found.names)
    }
    plan = make_plan({ReplicaKind(m, "H100-SXM-80GB"): 1 for m in MODELS}, routing)
    expected = []
    for k, question in zip(found.traffic_class, found.traffic, strict=True):
        small, large = asked.right[question]
        share = k / (BANDS - 1)
        expected.append(share * small + (1 - share) * large)
    mean, error = found.realised(plan)
    assert mean == pytest.approx(sum(expected) / len(expected))
    assert 0 < error < 0.05


# Settings


def test_a_third_of_the_settings_is_balanced() -> None:
    chosen = settings_of(27)
    assert len(set(chosen)) == 27
    for factors in combinations(("fleet", "rate", "floor", "sla"), 3):
        seen = Counter(tuple(getattr(s, f) for f in factors) for s in chosen)
        assert set(seen.values()) == {1}
        assert len(seen) == 27


@pytest.mark.parametrize("wanted", [1, 5, 26, 27, 40, 81, 500])
def test_as_many_settings_as_wanted(wanted: int) -> None:
    chosen = settings_of(wanted)
    assert len(chosen) == len(set(chosen)) == min(wanted, 81)
    if wanted >= 5:
        assert {s.fleet for s in chosen} == set(FLEETS)


def test_the_published_problem_makes_sense(published: Published) -> None:
    small, large = published.alone(SMALL), published.alone(LARGE)
    floors = [published.floor(name) for name in FLOORS]
    assert small < floors[0] < floors[1] < floors[2] < large
    assert published.trace_rate_rps == pytest.approx(5.53, abs=0.01)
    for fleet in FLEETS:
        wanted = [published.sla_s(Setting(fleet, 1.0, "low", name)) for name in SLAS]
        assert wanted == sorted(wanted)
        facts = published.facts(Setting(fleet, RATES[-1], "low", "tight"))
        assert facts.workload.rate_rps == pytest.approx(RATES[-1] * published.trace_rate_rps)
        assert {kind.model for kind in facts.profiles} == {SMALL, LARGE}
        assert set(facts.price_usd_per_hour) == set(facts.devices_per_node)
    assert all(speed.median_error < 0.11 for speed in published.speeds.values())
    assert 0.5 < published.bands.auc < 0.75


def test_alone_a_request_takes_what_its_tokens_take(published: Published) -> None:
    step = published.speeds[ReplicaKind(LARGE, "H100-SXM-80GB", 8)].profile.step
    assert step is not None
    times = []
    lengths = zip(published.trace.input_tokens, published.trace.output_tokens, strict=True)
    for prompt, answer in lengths:
        token_s = step.fixed_s + step.per_sequence_s
        token_s += step.per_context_token_s * (prompt + answer / 2)
        times.append(prompt * step.per_prefill_token_s + answer * token_s)
    assert p95_alone_s(step, published.trace) == pytest.approx(np.quantile(times, 0.95))


def test_the_trace_gets_classes_by_their_shares(published: Published) -> None:
    trace = in_classes(published.trace, ("a", "b", "c"), np.array([1.0, 0.0, 3.0]), seed=4)
    drawn = Counter(trace.query_class)
    assert trace.classes == ("a", "b", "c")
    assert drawn[2] / len(published.trace) == pytest.approx(0.75, abs=0.02)
    assert drawn[1] == 0


# Tables


def answer(sla: str, ours: float, theirs: float | None, *, meets: bool = True) -> dict[str, Any]:
    gain = None if theirs is None or not meets else 1 - ours / theirs
    joint = {"meets": meets, "value": ours}
    other = {"meets": theirs is not None, "value": theirs, "gain": gain}
    names = ("one_model_one_sku", "routing_only", "placement_only", "routing_then_placement")
    return {
        "name": f"here, 1 x, low, {sla}",
        "fleet": "here",
        "rate": 1.0,
        "floor": "low",
        "sla": sla,
        "savings": {"joint": joint} | dict.fromkeys(names, other),
    }


def test_gains_are_averaged_where_both_keep_the_limits() -> None:
    found = [
        answer("tight", 5.0, 10.0),
        answer("loose", 9.0, 10.0),
        answer("tight", 5.0, None),
        answer("tight", 5.0, 7.0, meets=False),
    ]
    of = averages(found)["savings"]["baselines"]["routing_only"]
    assert of["settings"] == 2
    assert of["average"] == pytest.approx(0.3)
    assert (of["best"], of["worst"]) == pytest.approx((0.5, 0.1))
    assert (of["only_joint_meets"], of["neither_meets"], of["not_asked"]) == (1, 1, 0)
    assert of["by_sla"]["loose"]["average"] == pytest.approx(0.1)
    latency = averages(found)["latency"]["baselines"]["routing_only"]
    assert (latency["settings"], latency["average"], latency["not_asked"]) == (0, None, 4)


def test_a_small_run_has_every_answer(data: Path) -> None:
    parser = argparse.ArgumentParser()
    headline.add_arguments(parser)
    parsed = parser.parse_args(
        ["--data", str(data), "--settings", "1", "--evaluations", "30", "--workers", "1"]
    )
    result = json.loads(json.dumps(headline.run(parsed, load_settings()), allow_nan=False))
    (setting,) = result["settings"]
    for aim in ("savings", "latency", "throughput"):
        assert setting[aim]["joint"]["meets"]
        for name, theirs in setting[aim].items():
            if theirs["meets"]:
                assert theirs["quality_lower"] >= setting["quality_floor"] - 1e-9, (aim, name)
            assert theirs.get("gain") is None or theirs["gain"] >= -1e-9
    assert result["promises"]["worst"] < result["promises"]["mean"]
    assert "one model, one GPU type" in text(result)
    assert setting["name"] in headline.told(result)
