"""Files of each tool become profiles: what is read, derived and noted."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.domain.profile import LoadLevel, Provenance
from core.errors import InvalidInput
from core.importing.formats import ImportedProfiles, parse_many, parse_profiles
from core.settings import REPOSITORY

FIXTURES = REPOSITORY / "tests" / "fixtures" / "imports"
DATA = REPOSITORY.parent / "shared" / "data"
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def read(*names: str, model: str = "", gpu: str = "X") -> ImportedProfiles:
    files = [(name, (FIXTURES / name).read_bytes()) for name in names]
    return parse_many(files, now=NOW, model=model, gpu=gpu)


def changed(name: str, **changes: Any) -> bytes:
    document = json.loads((FIXTURES / name).read_text())
    for key, value in changes.items():
        if value is None:
            document.pop(key, None)
        else:
            document[key] = value
    return json.dumps(document).encode()


def levels(found: ImportedProfiles) -> tuple[LoadLevel, ...]:
    [profile] = found.profiles
    return profile.levels


def test_one_file_per_concurrency_is_joined_in_order() -> None:
    found = read("vllm_bench_16.json", "vllm_bench_4.json", gpu="")
    [profile] = found.profiles
    assert found.format == profile.engine == "vllm bench serve"
    assert (profile.model, profile.sku, profile.tp, profile.pp) == (
        "acme/toy-8b",
        "ACME-80GB",
        2,
        1,
    )
    assert profile.provenance is Provenance.IMPORTED
    assert profile.measured_at == datetime(2026, 3, 1, 10, 15, tzinfo=UTC)
    assert [level.concurrency for level in profile.levels] == [4, 16]
    four, sixteen = profile.levels
    assert four.requests_per_s == pytest.approx(40 / 21)
    assert (four.input_tokens_mean, four.output_tokens_mean) == (200, 101)
    assert four.e2e_ms.mean == pytest.approx(60 + 20 * 100)
    assert sixteen.e2e_ms.mean == 3260
    assert any("E2E is not given" in note for note in found.notes)


def test_appended_results_are_one_file_each() -> None:
    both = b"\n".join((FIXTURES / f"vllm_bench_{n}.json").read_bytes() for n in (4, 16))
    found = parse_profiles(both, "appended.json", now=NOW)
    assert [level.concurrency for level in levels(found)] == [4, 16]


def test_a_rate_gives_an_open_loop_level_by_littles_law() -> None:
    [level] = levels(read("vllm_bench_rate.json"))
    assert level.rate_rps == 2.0
    assert level.concurrency == round(20 / 10.5 * level.e2e_ms.mean / 1000)
    latencies_ms = 1000 * np.array([2.2 + i * 0.01 for i in range(20)])
    assert level.e2e_ms.p95 == pytest.approx(np.percentile(latencies_ms, 95))
    assert level.e2e_ms.p99 == pytest.approx(np.percentile(latencies_ms, 99))


def test_all_at_once_counts_the_mean_number_in_flight() -> None:
    content = changed("vllm_bench_4.json", max_concurrency=None)
    found = parse_profiles(content, "burst.json", now=NOW)
    [level] = levels(found)
    assert level.rate_rps is None
    assert level.concurrency == round(40 / 21 * 2.06)
    assert any("sent at once" in note for note in found.notes)


def test_a_missing_95th_percentile_lies_on_the_log_normal_of_the_others() -> None:
    four, _ = levels(read("vllm_bench_4.json", "vllm_bench_16.json"))
    sigma = np.log(four.ttft_ms.p99 / four.ttft_ms.p50) / 2.3263478740408408
    assert four.ttft_ms.p95 == pytest.approx(four.ttft_ms.p50 * np.exp(1.6448536269514722 * sigma))


@pytest.mark.parametrize(
    ("name", "loads"),
    [
        ("guidellm_0_8.json", [(1, None), (8, None), (5, 3.0)]),
        ("guidellm_0_3.json", [(4, None)]),
        ("aiperf_1_4.json", [(10, None)]),
        ("aiperf_1_0.json", [(6, 3.0)]),
    ],
)
def test_other_tools_are_read(name: str, loads: list[tuple[int, float | None]]) -> None:
    [profile] = read(name).profiles
    assert profile.model == "acme/toy-8b"
    assert profile.measured_at < NOW
    assert [(x.concurrency, x.rate_rps) for x in profile.levels] == loads
    for level in profile.levels:
        composed = level.ttft_ms.mean + level.tpot_ms.mean * (level.output_tokens_mean - 1)
        assert level.e2e_ms.mean == pytest.approx(composed, rel=0.01)
        assert level.ttft_ms.p95 == pytest.approx(1.4 * level.ttft_ms.mean, rel=1e-4)


def test_errors_are_counted() -> None:
    assert [x.errors for x in levels(read("guidellm_0_8.json"))] == [0, 2, 0]
    assert [x.errors for x in levels(read("aiperf_1_4.json"))] == [1]
    content = changed("vllm_bench_4.json", failed=None, num_prompts=43)
    assert [x.errors for x in levels(parse_profiles(content, "a.json", now=NOW))] == [3]


def test_units_of_aiperf_are_read() -> None:
    document = json.loads((FIXTURES / "aiperf_1_4.json").read_text())
    latency = document["request_latency"]
    in_s = {k: v / 1000 if isinstance(v, float) else v for k, v in latency.items()}
    document["request_latency"] = {**in_s, "unit": "sec"}
    [level] = levels(
        parse_profiles(json.dumps(document).encode(), "aiperf.json", now=NOW, gpu="X")
    )
    assert level.e2e_ms.mean == pytest.approx(latency["avg"])


def test_the_operators_names_stand_before_the_files() -> None:
    found = read("vllm_bench_4.json", model="small", gpu="Y")
    [profile] = found.profiles
    assert (profile.model, profile.sku) == ("small", "Y")
    assert any("'acme/toy-8b'" in note for note in found.notes)


def test_a_table_keeps_its_own_names_and_fills_gaps() -> None:
    found = read("profile.csv", model="other", gpu="other")
    assert {(p.model, p.sku, p.tp) for p in found.profiles} == {
        ("toy-8b", "ACME-80GB", 1),
        ("toy-70b", "ACME-80GB", 4),
    }
    toy, _ = found.profiles
    assert [(x.concurrency, x.rate_rps) for x in toy.levels] == [
        (1, None),
        (8, None),
        (32, None),
        (5, 3.5),
    ]
    assert toy.levels[1].e2e_ms.p95 == 2300
    assert toy.levels[1].output_tokens_per_s == pytest.approx(420)


def test_a_grid_yields_a_step_time_model_that_gives_its_throughput() -> None:
    grid = json.loads((FIXTURES / "throughput_grid.json").read_text())
    found = read("throughput_grid.json", model="toy")
    _assert_reproduces(found, grid, within=0.15)
    [profile] = found.profiles
    assert profile.engine_limits is not None
    little = np.median(np.array(grid["tputs"]) * np.array(grid["e2e"]))
    assert profile.engine_limits.max_num_seqs == round(little)


@pytest.mark.parametrize("fixed_s", [0.0, 0.012])
def test_a_grid_made_by_the_formula_is_fitted_exactly(fixed_s: float) -> None:
    outputs, inputs, held = [16, 64, 256], [128, 512, 1024, 2048], 256
    busy = [
        [0.002 + 7e-5 * i + o * (fixed_s / held) + 3e-7 * o * (i + o / 2) for i in inputs]
        for o in outputs
    ]
    grid = {"gpu": "a", "tputs": (1 / np.array(busy)).tolist(), "indexes": [outputs, inputs]}
    found = parse_profiles(json.dumps(grid).encode(), "g.json", now=NOW, model="m")
    step = found.profiles[0].step
    assert step is not None
    assert step.per_request_s == pytest.approx(0.002, rel=1e-6)
    assert step.per_prefill_token_s == pytest.approx(7e-5, rel=1e-6)
    assert step.fixed_s == pytest.approx(fixed_s, rel=1e-6, abs=1e-9)
    assert step.per_context_token_s == pytest.approx(3e-7, rel=1e-6)
    assert any("throughput only" in note for note in found.notes)


@pytest.mark.parametrize("name", ["llama2_7b_a100_v1", "llama2_7b_a40"])
def test_published_aibrix_grids_are_read_and_called_simulated(name: str) -> None:
    path = _data(f"perf_aibrix_sim_{name}.json")
    found = parse_profiles(path.read_bytes(), path.name, now=NOW, model="llama-2-7b")
    assert any("simulated" in note for note in found.notes)
    _assert_reproduces(found, json.loads(path.read_text()), within=0.3)
    step = found.profiles[0].step
    assert step is not None
    # 2 x 7e9 operations per prompt token take more than 312e12 per second allow, and not 20 times.
    assert 4.5e-5 < step.per_prefill_token_s < 9e-4


def _assert_reproduces(found: ImportedProfiles, grid: dict[str, Any], within: float) -> None:
    [profile] = found.profiles
    step, limits = profile.step, profile.engine_limits
    assert step is not None
    assert limits is not None
    for row, output in zip(grid["tputs"], grid["indexes"][0], strict=True):
        for rate, prompt in zip(row, grid["indexes"][1], strict=True):
            held = limits.max_num_seqs
            decode_s = step.fixed_s + held * (prompt + output / 2) * step.per_context_token_s
            begin_s = step.per_request_s + prompt * step.per_prefill_token_s
            assert held / (output * decode_s + held * begin_s) == pytest.approx(rate, rel=within)


def test_a_published_measurement_is_read_but_for_its_contradictions() -> None:
    text = _data("perf_splitwise_llama2_bloom.csv").read_text()
    with pytest.raises(InvalidInput, match="not understood") as refused:
        parse_profiles(text.encode(), "splitwise.csv", now=NOW)
    assert "prompt_time_ms to ttft_ms" in refused.value.hint
    ours = {
        "hardware": "gpu",
        "tensor_parallel": "tp",
        "prompt_time_ms": "ttft_ms",
        "token_time_ms": "tpot_ms",
        "e2e_time_ms": "e2e_ms",
    }
    header, *rows = text.splitlines()
    columns = [ours.get(name, name) for name in header.split(",")]
    first = {}
    for row in rows:
        cells = dict(zip(columns, row.split(","), strict=True))
        ttft, tpot, e2e = (float(cells[f"{name}_ms"]) for name in ("ttft", "tpot", "e2e"))
        if 1 / 3 < e2e / (ttft + tpot * (int(cells["output_tokens"]) - 1)) < 3:
            load = ("model", "gpu", "tp", "batch_size", "input_tokens", "output_tokens")
            first.setdefault(tuple(cells[name] for name in load), row)
    table = "\n".join([",".join(columns), *first.values()])
    found = parse_profiles(table.encode(), "splitwise.csv", now=NOW)
    assert {p.tp for p in found.profiles} == {2, 4, 8}
    assert sum(len(p.levels) for p in found.profiles) == len(first)


def test_the_example_in_the_documentation_is_read() -> None:
    lines = (REPOSITORY / "docs" / "importing.md").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("    model,gpu,"))
    example = "\n".join(line.strip() for line in lines[start : start + 4])
    assert [(x.concurrency, x.rate_rps) for x in levels(_table(example))] == [
        (1, None),
        (16, None),
        (7, 6.5),
    ]


def _table(text: str) -> ImportedProfiles:
    return parse_profiles(text.encode(), "example.csv", now=NOW)


def _data(name: str) -> Path:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not here")
    return path
