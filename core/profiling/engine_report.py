"""What vLLM says of itself: how much its key/value cache holds, how large its batches may get."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from core.domain.catalog import ModelSpec
from core.domain.fleet import Device, DeviceKind
from core.domain.profile import EngineLimits
from core.errors import EngineFailed

CACHE_INFO = "vllm:cache_config_info{"
LOG_BYTES = 400_000
GIB = 2**30
METRICS_TIMEOUT_S = 10.0
USUAL_ON_CPU = 2048
"""Tokens per step and core that vLLM chooses on CPUs."""

_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_BATCHED_TOKENS = re.compile(r"max_num_batched_tokens['\"]?\s*[=:]\s*(\d{1,9})\b")


async def engine_limits(
    base_url: str, max_num_seqs: int, max_num_batched_tokens: int = USUAL_ON_CPU
) -> EngineLimits:
    """Ask a vLLM server for its cache and return its limits.

    Args:
        max_num_seqs: As the server was started with.
        max_num_batched_tokens: As it was started with, or as it chose; see `batched_tokens`.

    Raises:
        EngineFailed: The server does not report its cache.
    """
    cache = cache_of(await _read_metrics(base_url))
    if cache is None:
        raise EngineFailed(
            f"The server at {base_url} does not report its key/value cache.",
            "vLLM 0.10 and later do, in `vllm:cache_config_info` on their metrics page.",
        )
    # One block is vLLM's null block: it stands for "no block" and never holds a request's tokens.
    return EngineLimits(max_num_seqs, max_num_batched_tokens, cache.blocks - 1, cache.block_size)


@dataclass(frozen=True, slots=True)
class CacheReport:
    """Blocks of the key/value cache, vLLM's null block included, and tokens per block."""

    blocks: int
    block_size: int


def cache_of(metrics: str) -> CacheReport | None:
    """Find `vllm:cache_config_info` on a metrics page; None when it is not there.

    Of several engines behind one server the first counts.
    """
    for line in metrics.splitlines():
        if line.startswith(CACHE_INFO):
            labels = dict(_LABEL.findall(line))
            blocks = _count(labels.get("num_gpu_blocks", ""))
            block_size = _count(labels.get("block_size", ""))
            if blocks > 1 and block_size > 0:
                return CacheReport(blocks, block_size)
    return None


def batched_tokens(log: str, model: ModelSpec, devices: Sequence[Device]) -> int:
    """Return the most tokens in a step: as the server's log says, else as vLLM usually chooses.

    Args:
        log: The beginning of the server's log.
        model: As the server was started with.
        devices: What it runs on.
    """
    named = _BATCHED_TOKENS.search(log)
    return max(1, int(named.group(1))) if named else usual_batched_tokens(model, devices)


def read_log(path: str) -> str:
    """Return the beginning of a server's log; empty when it cannot be read from here."""
    try:
        with Path(path).open("rb") as log:
            return log.read(LOG_BYTES).decode("utf-8", errors="replace")
    except (OSError, ValueError):
        return ""


def usual_batched_tokens(model: ModelSpec, devices: Sequence[Device]) -> int:
    """Return the `max_num_batched_tokens` that vLLM's API server chooses when it is told none.

    As in vLLM 0.32, `EngineArgs.get_batch_defaults` and
    `_set_default_max_num_seqs_and_batched_tokens_args` (vllm/engine/arg_utils.py).
    """
    if any(device.kind is DeviceKind.CUDA for device in devices):
        usual = _usual_on_gpu(devices[0])
    else:
        usual = USUAL_ON_CPU * max(1, len(devices))
    return min(usual, model.max_num_seqs * model.max_model_len)


def _usual_on_gpu(device: Device) -> int:
    memory_gib = device.memory_total_bytes / GIB
    if memory_gib >= 160:
        return 16384
    return 8192 if memory_gib >= 70 and "a100" not in device.sku.lower() else 2048


async def _read_metrics(base_url: str) -> str:
    """Return a server's metrics page; empty when there is none."""
    timeout = aiohttp.ClientTimeout(total=METRICS_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(f"{base_url}/metrics") as response,
        ):
            return await response.text() if response.status == 200 else ""
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return ""


def _count(text: str) -> int:
    """Return a whole number that fits a database column; 0 for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
