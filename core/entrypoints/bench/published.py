"""Published measurements as points to predict: Splitwise's and LLM-Inference-Bench's.

The devices and shapes behind their labels are stated here: the files do not say them.
"""

import csv
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import NotFound
from core.estimate.architecture import ModelShape, parse_shape
from core.estimate.calibration import Measured
from core.estimate.effects import Case
from core.estimate.hardware import sku_facts
from core.estimate.roofline import (
    BANDWIDTH_EFFICIENCY,
    COMPUTE_EFFICIENCY,
    Load,
    Placed,
    StepCost,
    batch_cost,
)

SPLITWISE = "perf_splitwise_llama2_bloom.csv"
INFERENCE_BENCH = "perf_llm_inference_bench.csv"
AICONFIGURATOR = "perf_aiconfigurator_predicted.csv"

SPLITWISE_SKU = {"a100-80gb": "A100-SXM-80GB", "h100-80gb": "H100-SXM-80GB"}
"""The power-capped H100 is left out: its rows are H100's, prompt times 1.3 times as long."""
INFERENCE_BENCH_SKU = {
    "Nvidia A100 GPU": "A100-SXM-40GB",
    "Nvidia H100 GPU": "H100-SXM-80GB",
    "Nvidia GH200 GPU": "GH200-96GB",
    "AMD MI250 GPU": "MI250",
    "AMD MI300X GPU": "MI300X",
    "Intel PVC GPU": "Max 1550",
    "Intel Max 1550": "Max 1550",
}
OTHER_SOFTWARE = {"Intel PVC GPU": "vllm, other build"}
"""Two labels of one device whose times differ up to ninefold: two builds of the engine."""
CONSISTENT = 0.1
"""Largest relative disagreement of columns that say the same."""


def _llama(hidden: int, layers: int, heads: int, kv: int, width: int, vocab: int) -> ModelShape:
    return ModelShape(layers, hidden, heads, kv, hidden // heads, width, vocab)


def _bloom(hidden: int, layers: int, heads: int) -> ModelShape:
    return parse_shape(
        {
            "model_type": "bloom",
            "n_layer": layers,
            "n_head": heads,
            "hidden_size": hidden,
            "vocab_size": 250_880,
        }
    )


LLAMA_2_70B = _llama(8192, 80, 64, 8, 28672, 32000)
SHAPES: Mapping[str, ModelShape] = {
    "llama2-70b": LLAMA_2_70B,
    "bloom-176b": _bloom(14336, 70, 112),
    "meta-llama/Llama-2-7b-hf": _llama(4096, 32, 32, 32, 11008, 32000),
    "meta-llama/Llama-2-70b-hf": LLAMA_2_70B,
    "meta-llama/Meta-Llama-3-8B": _llama(4096, 32, 32, 8, 14336, 128_256),
    "meta-llama/Meta-Llama-3-70B": _llama(8192, 80, 64, 8, 28672, 128_256),
    "mistralai/Mistral-7B-v0.1": _llama(4096, 32, 32, 8, 14336, 32000),
    "mistralai/Mixtral-8x7B-v0.1": ModelShape(
        layers=32,
        hidden=4096,
        heads=32,
        kv_heads=8,
        head_dim=128,
        intermediate=14336,
        vocab=32000,
        experts=8,
        experts_per_token=2,
        moe_intermediate=14336,
    ),
    "Qwen/Qwen2-7B": _llama(3584, 28, 28, 4, 18944, 152_064),
    "Qwen/Qwen2-72B": _llama(8192, 80, 64, 8, 29568, 152_064),
    "Qwen/Qwen1.5-7B": _llama(4096, 32, 32, 32, 11008, 151_936),
    "Deci/DeciLM-7B": _llama(4096, 32, 32, 2, 14336, 32000),
    "BAAI/Aquila-7B": _llama(4096, 32, 32, 32, 11008, 100_008),
    "bigscience/bloom-7b1": _bloom(4096, 30, 32),
    "EleutherAI/gpt-j-6b": ModelShape(
        28, 4096, 16, 16, 256, 16384, 50400, gated=False, biased=True
    ),
    "huggyllama/llama-7b": _llama(4096, 32, 32, 32, 11008, 32000),
    "facebook/opt-6.7b": ModelShape(
        32, 4096, 32, 32, 128, 16384, 50272, True, gated=False, biased=True, positions=2048
    ),
}
"""DeciLM varies its key/value heads by layer; 2 is near their mean."""


@dataclass(frozen=True, slots=True)
class Point:
    """One published time.

    Attributes:
        what: "TTFT", "TPOT" or "E2E".
        pair: Model and SKU: what must not be both in calibration and test.
        measured: The case, and the median of its repetitions.
        calibrates: Whether it may be calibrated with; not what follows from other points.
    """

    what: str
    pair: str
    measured: Measured
    calibrates: bool = True

    @property
    def name(self) -> str:
        """Which case, for people."""
        case = self.measured.case
        load = f"batch {case.batch:g}, {case.length:g} tokens"
        return f"{case.model} on {case.sku.name}, TP {case.tp}, {load}, {self.what}"


@dataclass
class Published:
    """Points of one data set, and what was left out, by reason."""

    points: list[Point] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=lambda: defaultdict(int))


def splitwise(folder: Path) -> Published:
    """Read the measurements of mutinifni/splitwise-sim.

    Raises:
        NotFound: The file is not in the folder.
    """
    found, runs = Published(), defaultdict(list)
    seen = set()
    for row in _rows(folder / SPLITWISE):
        if tuple(row.values()) in seen:
            found.left_out["repeated rows"] += 1
        elif row["hardware"] not in SPLITWISE_SKU:
            found.left_out["rows derived from another device's"] += 1
        else:
            key = ("model", "hardware", "tensor_parallel", "input_tokens", "batch_size")
            runs[tuple(row[k] for k in (*key, "output_tokens"))].append(row)
        seen.add(tuple(row.values()))
    for run, rows in runs.items():
        _add_splitwise(found, run, rows)
    return found


def _add_splitwise(found: Published, run: tuple[str, ...], rows: list[dict[str, str]]) -> None:
    model, hardware, tp, prompt, batch, answer = run[0], run[1], *map(int, run[2:])
    placed = Placed(SHAPES[model], sku_facts(SPLITWISE_SKU[hardware]), tp)
    prefill = placed.cost(Load(prompts=batch, prompt_tokens=batch * prompt))
    context = batch * (prompt + answer / 2)
    decoding = placed.cost(Load(decoding=batch, context_tokens=context))
    columns = ("prompt_time_ms", "token_time_ms", "e2e_time_ms")
    ttft_s, tpot_s, e2e_s = (_median(rows, column) / 1000 for column in columns)
    if ttft_s < _least_s(prefill, StepCost(0, 0, 0, 0, 0, 0)):
        found.left_out["runs faster than the device"] += 1
        return

    def point(what: str, cost: StepCost, time_s: float) -> Point:
        case = Case("splitwise", placed.sku, model, cost, batch, prompt, tp)
        return Point(what, f"{model} on {placed.sku.name}", Measured(case, time_s), what != "E2E")

    found.points += [point("TTFT", prefill, ttft_s), point("TPOT", decoding, tpot_s)]
    if abs(ttft_s + (answer - 1) * tpot_s - e2e_s) > CONSISTENT * e2e_s:
        found.left_out["end-to-end times of answers cut short"] += 1
        return
    found.points.append(point("E2E", prefill.plus(decoding.times(answer - 1)), e2e_s))


def inference_bench(folder: Path) -> Published:
    """Read the vLLM rows of argonne-lcf/LLM-Inference-Bench: batches of equal requests.

    Their throughput, which counts input and output tokens, is batch x 2 x length / latency: its
    error is the latency's.

    Raises:
        NotFound: The file is not in the folder.
    """
    found, runs = Published(), defaultdict(list)
    for row in _rows(folder / INFERENCE_BENCH):
        if row["framework"] != "vLLM":
            found.left_out["rows of other frameworks"] += 1
        elif abs(float(row["throughput_consistency_ratio"] or 0) - 1) > CONSISTENT:
            found.left_out["inconsistent rows"] += 1
        else:
            key = ("model", "hardware", "n_devices", "in_out_len", "batch_size")
            runs[tuple(row[k] for k in key)].append(row)
    for run, rows in runs.items():
        _add_inference_bench(found, run, rows)
    return found


def _add_inference_bench(
    found: Published, run: tuple[str, ...], rows: list[dict[str, str]]
) -> None:
    model, hardware, tp, length, batch = run[0], run[1], *map(int, run[2:])
    placed = Placed(SHAPES[model], sku_facts(INFERENCE_BENCH_SKU[hardware]), tp)
    prefill, decoding = batch_cost(placed, batch, length, length)
    latency_s = _median(rows, "latency_s")
    if latency_s < _least_s(prefill, decoding):
        found.left_out["runs faster than the device"] += 1
        return
    engine = OTHER_SOFTWARE.get(hardware, "vllm")
    cost = prefill.plus(decoding)
    case = Case(engine, placed.sku, model, cost, batch, length, tp)
    found.points.append(Point("E2E", f"{model} on {placed.sku.name}", Measured(case, latency_s)))


def vendor_predictions(folder: Path, points: Iterable[Point]) -> dict[str, tuple[Point, float]]:
    """Return aiconfigurator's end-to-end seconds where LLM-Inference-Bench measured the same.

    Llama 3 and 3.1 have one shape. The measurements are of a vLLM two years older.
    """
    same = {
        "meta-llama/Meta-Llama-3-8B": "meta-llama/Meta-Llama-3.1-8B",
        "meta-llama/Meta-Llama-3-70B": "meta-llama/Meta-Llama-3.1-70B",
    }
    of_case = {
        (same.get(p.measured.case.model), p.measured.case.tp, p.measured.case.batch, length): p
        for p in points
        if p.measured.case.sku.name == "H100-SXM-80GB"
        for length in (p.measured.case.length,)
    }
    found = {}
    for row in _rows(folder / AICONFIGURATOR):
        key = (row["model"], int(row["tp"]), float(row["batch_size"]), float(row["isl"]))
        if row["system"] == "h100_sxm" and row["isl"] == row["osl"] and key in of_case:
            point = of_case[key]
            found[point.name] = (point, float(row["request_latency_ms"]) / 1000)
    return found


def _least_s(prefill: StepCost, decoding: StepCost) -> float:
    """Half of what peak throughput and bandwidth allow: less is a failed run, not a fast one."""
    peak = prefill.compute_s * COMPUTE_EFFICIENCY + decoding.memory_s * BANDWIDTH_EFFICIENCY
    return peak / 2


def _median(rows: list[dict[str, str]], column: str) -> float:
    return statistics.median(float(row[column]) for row in rows)


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError as error:
        raise NotFound(
            f"There is no {path.name} in {path.parent}.",
            "Give --data the folder with the published measurements; docs/accuracy.md says "
            "where they come from.",
        ) from error
