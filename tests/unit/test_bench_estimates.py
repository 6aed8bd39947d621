"""The benchmark of estimates: that nothing leaks, and what it finds in the published data."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from core.entrypoints.bench import estimates
from core.entrypoints.bench.published import (
    SHAPES,
    Point,
    inference_bench,
    splitwise,
    vendor_predictions,
)
from core.errors import NotFound
from core.settings import REPOSITORY, load_settings


@pytest.fixture(scope="module")
def data() -> Path:
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the published measurements are not here")
    return folder


@pytest.fixture(scope="module")
def points(data: Path) -> list[Point]:
    return splitwise(data).points


def test_what_is_left_out_is_counted(data: Path) -> None:
    found = splitwise(data)
    assert found.left_out["repeated rows"] == 120
    assert found.left_out["rows derived from another device's"] == 380
    assert {p.measured.case.sku.name for p in found.points} == {"A100-SXM-80GB", "H100-SXM-80GB"}
    bench = inference_bench(data)
    # Asked for 4096 tokens, five models of 2048 answered at once: they refused.
    assert bench.left_out["runs faster than the device"] == 20
    assert len(bench.points) == 1990


def test_shapes_have_the_published_sizes() -> None:
    billions = {name: round(shape.parameters / 1e9, 1) for name, shape in SHAPES.items()}
    assert billions["mistralai/Mixtral-8x7B-v0.1"] == 46.7
    assert billions["Qwen/Qwen2-72B"] == 72.7
    assert billions["Qwen/Qwen2-7B"] == 7.6
    assert billions["EleutherAI/gpt-j-6b"] == 6.1
    assert billions["facebook/opt-6.7b"] == 6.7
    assert billions["bigscience/bloom-7b1"] == 7.1
    assert billions["Deci/DeciLM-7B"] == 7.0


@pytest.mark.parametrize("name", ["unseen pairs", "unseen pairs, spread"])
def test_no_pair_is_in_calibration_and_test(points: list[Point], name: str) -> None:
    for seed in range(5):
        learnt, rest = estimates.SPLITS[name](points, np.random.default_rng(seed))
        assert not {points[i].pair for i in learnt} & {points[i].pair for i in rest}
        usable = sum(p.calibrates for p in points)
        assert len(learnt) <= round(0.1 * usable)
        assert all(points[i].calibrates for i in learnt)


def test_same_pairs_learn_a_tenth_of_each(points: list[Point]) -> None:
    learnt, rest = estimates.SPLITS["same pairs"](points, np.random.default_rng(0))
    assert not set(learnt) & set(rest)
    assert {points[i].pair for i in learnt} == {p.pair for p in points}
    assert len(learnt) == pytest.approx(0.1 * sum(p.calibrates for p in points), abs=4)


def test_calibration_halves_the_error_on_unseen_pairs(data: Path) -> None:
    parser = argparse.ArgumentParser()
    estimates.add_arguments(parser)
    parsed = parser.parse_args(["--data", str(data), "--repeats", "3"])
    result = json.loads(json.dumps(estimates.run(parsed, load_settings())))
    whole = result["data"]["LLM-Inference-Bench"]
    after = whole["after"]["unseen pairs"]
    assert after["median"] < 0.6 * whole["before"]["median"]
    assert whole["after"]["unseen pairs, spread"]["median"] < 0.15
    assert 0.6 < after["coverage"] < 1
    text = estimates.told(result)
    assert "aiconfigurator against 32 measurements" in text
    assert "90 % interval holds" in text


def test_aiconfigurator_is_compared_where_both_exist(data: Path) -> None:
    known = vendor_predictions(data, inference_bench(data).points)
    assert len(known) == 32
    assert all(time_s > 0 for _, time_s in known.values())


def test_a_folder_without_the_data_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="perf_splitwise"):
        splitwise(tmp_path)
