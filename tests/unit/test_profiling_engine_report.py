"""What vLLM says of itself is understood, and what it does not say is not made up."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.catalog import ModelSpec
from core.domain.fleet import Device, DeviceKind
from core.domain.ids import utc_now
from core.domain.profile import EngineLimits
from core.errors import EngineFailed
from core.profiling.engine_report import (
    CacheReport,
    batched_tokens,
    cache_of,
    engine_limits,
    read_log,
)
from tests.fakes.openai_stub import OpenAIStub

MODEL = ModelSpec("m", "m", 0, 0, max_model_len=4096, max_num_seqs=64, added_at=utc_now())
SAID = (
    "# HELP vllm:cache_config_info Information of the LLMEngine CacheConfig\n"
    "# TYPE vllm:cache_config_info gauge\n"
    'vllm:cache_config_info{block_size="128",cache_dtype="auto",calculate_kv_scales="False",'
    'enable_prefix_caching="True",engine="0",kv_cache_memory_bytes="None",'
    'num_cpu_blocks="None",num_gpu_blocks="1365",num_gpu_blocks_override="None"} 1.0\n'
    "vllm:num_requests_running 0.0\n"
)


def device(sku: str, gib: int, kind: DeviceKind = DeviceKind.CUDA) -> Device:
    return Device(sku, "n", 0, sku, kind, gib * 2**30, 0, None, None, utc_now())


async def test_a_server_is_asked_for_its_cache() -> None:
    async with OpenAIStub(cache=(1365, 128)) as stub:
        limits = await engine_limits(stub.base_url, 16, 4096)
    # One block is never given to a request.
    assert limits == EngineLimits(16, 4096, 1364, 128)
    assert limits.kv_tokens == 1364 * 128


async def test_a_server_that_says_nothing_is_named() -> None:
    async with OpenAIStub() as stub:
        with pytest.raises(EngineFailed, match="does not report"):
            await engine_limits(stub.base_url, 16)
    with pytest.raises(EngineFailed):
        await engine_limits(stub.base_url, 16)  # gone by now


def test_vllms_own_words_are_understood() -> None:
    assert cache_of(SAID) == CacheReport(1365, 128)


@pytest.mark.parametrize("blocks", ["None", "", "0", "1", "-5", "1e9", "9" * 40, "٣"])
def test_a_cache_of_an_unknown_size_is_no_report(blocks: str) -> None:
    assert cache_of(SAID.replace("1365", blocks)) is None


@settings(deadline=None)
@given(st.text())
def test_any_page_is_read_without_harm(text: str) -> None:
    assert cache_of(text) is None or "vllm:cache_config_info" in text
    for page in (SAID + text, f"vllm:cache_config_info{{{text}}} 1.0"):
        found = cache_of(page)
        assert found is None or found.blocks > 1


def test_the_log_names_the_tokens_of_a_step() -> None:
    log = "INFO Chunked prefill is enabled with max_num_batched_tokens=8192.\n"
    assert batched_tokens(log, MODEL, []) == 8192
    log = "non-default args: {'model': 'm', 'max_num_batched_tokens': 512}"
    assert batched_tokens(log, MODEL, []) == 512


@pytest.mark.parametrize(
    ("devices", "tokens"),
    [
        ([device("cpu-core", 8, DeviceKind.CPU)], 2048),
        ([device("cpu-core", 8, DeviceKind.CPU)] * 2, 4096),
        ([device("NVIDIA L4", 24)], 2048),
        ([device("NVIDIA A100-SXM4-80GB", 80)], 2048),
        ([device("NVIDIA H100 80GB HBM3", 80)] * 2, 8192),
        ([device("NVIDIA B200", 180)], 16384),
        ([], 2048),
    ],
)
def test_otherwise_it_is_what_vllm_chooses(devices: list[Device], tokens: int) -> None:
    assert batched_tokens("", MODEL, devices) == tokens


def test_a_batch_of_short_sequences_cannot_have_more_tokens_than_they() -> None:
    small = ModelSpec("m", "m", 0, 0, max_model_len=256, max_num_seqs=1, added_at=utc_now())
    assert batched_tokens("", small, []) == 256


def test_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert read_log(str(tmp_path / "none.log")) == ""
    assert read_log("") == ""
    assert read_log("a\0b") == ""
    (tmp_path / "some.log").write_bytes(b"max_num_batched_tokens=7\xff")
    assert "max_num_batched_tokens=7" in read_log(str(tmp_path / "some.log"))
