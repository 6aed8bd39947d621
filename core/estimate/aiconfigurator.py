"""Adapter to NVIDIA's aiconfigurator: kernels it timed, interpolated. Optional, and optimistic.

`pip install aiconfigurator-core` brings tables of kernel times for several GPUs. They are read
here as a step-time model, which then is calibrated as the roofline is. Its token times were .84
of measured ones in the median.

A new backend object is made for every (model, GPU, TP): what it caches leaves those out of the
key, and a used one silently returns another GPU's numbers.
"""

from collections.abc import Callable
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import numpy as np

from core.domain.profile import StepTime
from core.errors import InvalidInput, NotReady
from core.estimate.hardware import SkuFacts
from core.estimate.relative_fit import non_negative

DISTRIBUTION = "aiconfigurator-core"
SYSTEMS = {
    "A30": "a30",
    "A100-SXM-40GB": "a100_sxm",
    "A100-SXM-80GB": "a100_sxm",
    "A100-PCIe-80GB": "a100_pcie",
    "L4": "l4",
    "L40S": "l40s",
    "H100-SXM-80GB": "h100_sxm",
    "H100-PCIe-80GB": "h100_pcie",
    "H200-SXM-141GB": "h200_sxm",
    "B200-SXM-180GB": "b200_sxm",
}
BATCHES = (1, 8, 64)
CONTEXTS = (256, 2048)
PROMPTS = (256, 1024, 4096)
DECODED = 32
"""Tokens decoded per query: short, so that the context hardly grows."""

TimeMs = Callable[[str, int, int, int], float]
"""Milliseconds of "prefill" or of one token's "decode", for a batch, a prompt and an answer."""


def vendor_step(folder: Path, sku: SkuFacts, tp: int, pp: int = 1) -> StepTime:
    """Return aiconfigurator's prediction for vLLM as a step-time model.

    Args:
        folder: Holds the model's `config.json`.

    Raises:
        NotReady: aiconfigurator is not installed.
        InvalidInput: It has no data for the GPU or the model.
    """
    return step_from_times(_query(folder, sku, tp, pp))


def vendor_version() -> str:
    """Return its name and version, such as `aiconfigurator 0.12.0`.

    Raises:
        NotReady: It is not installed.
    """
    try:
        return f"aiconfigurator {metadata.version(DISTRIBUTION)}"
    except metadata.PackageNotFoundError as error:
        raise _missing() from error


def step_from_times(time_ms: TimeMs) -> StepTime:
    """Fit a step-time model to prefill and decode times, in least relative error."""
    loads = [(batch, context) for batch in BATCHES for context in CONTEXTS]
    decode_s = np.array([time_ms("decode", b, c, DECODED) / 1000 for b, c in loads])
    rows = np.array([[1.0, b, b * (c + DECODED / 2)] for b, c in loads])
    fixed_s, sequence_s, context_s = non_negative(rows, decode_s)
    prefill_s = np.array([time_ms("prefill", 1, prompt, 1) / 1000 for prompt in PROMPTS])
    begins = np.array([[1.0, float(prompt)] for prompt in PROMPTS])
    begins_s, token_s = non_negative(begins, prefill_s)
    return StepTime(
        fixed_s=float(fixed_s),
        per_sequence_s=float(sequence_s),
        per_context_token_s=float(context_s),
        per_prefill_token_s=float(token_s),
        # A step reads the weights in any case; only what a prompt costs beyond is its own.
        per_request_s=max(0.0, float(begins_s - fixed_s - sequence_s)),
    )


def _query(folder: Path, sku: SkuFacts, tp: int, pp: int) -> TimeMs:
    system = SYSTEMS.get(sku.name)
    vendor_version()
    perf = import_module("aiconfigurator_core.sdk.perf_database")
    version = perf.get_latest_database_version(system, "vllm") if system else None
    if version is None:
        raise InvalidInput(
            f"aiconfigurator has no vLLM data for {sku.name}.",
            f"It knows {', '.join(SYSTEMS)}; the roofline knows more.",
        )
    return _times(perf.get_database(system, "vllm", version), folder, tp, pp)


def _times(database: Any, folder: Path, tp: int, pp: int) -> TimeMs:
    config = import_module("aiconfigurator_core.sdk.config")
    make_backend = import_module("aiconfigurator_core.sdk.backends.factory").get_backend
    models = import_module("aiconfigurator_core.sdk.models")

    def time_ms(phase: str, batch: int, prompt: int, answer: int) -> float:
        mode, column = {"prefill": ("static_ctx", "ttft"), "decode": ("static_gen", "tpot")}[phase]
        try:
            model = models.get_model(
                str(folder), config.ModelConfig(tp_size=tp, pp_size=pp), "vllm"
            )
            load = config.RuntimeConfig(batch_size=batch, isl=prompt, osl=answer)
            summary = make_backend("vllm").run_static(model, database, load, mode)
            return float(summary.get_summary_df()[column].iloc[0])
        except (ValueError, KeyError, NotImplementedError, RuntimeError, AttributeError) as error:
            raise InvalidInput(
                f"aiconfigurator cannot predict the model in {str(folder)!r}: {error}",
                "Use the roofline, which needs the shape only.",
            ) from error

    return time_ms


def _missing() -> NotReady:
    return NotReady(
        "aiconfigurator is not installed.", "Install it with `pip install boute[aiconfigurator]`."
    )
