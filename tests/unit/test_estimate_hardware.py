"""The catalogue of devices, and who is who among their names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import NotFound
from core.estimate.hardware import catalogue, match_sku, sku_facts


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100-SXM-80GB"),
        ("NVIDIA H100 PCIe", "H100-PCIe-80GB"),
        ("NVIDIA A100-SXM4-40GB", "A100-SXM-40GB"),
        ("NVIDIA A100-SXM4-80GB", "A100-SXM-80GB"),
        ("NVIDIA A100 80GB PCIe", "A100-PCIe-80GB"),
        ("NVIDIA L40S", "L40S"),
        ("nvidia l4", "L4"),
        ("Tesla T4", "T4"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA H200", "H200-SXM-141GB"),
        ("h100", "H100-SXM-80GB"),
        ("AMD Instinct MI300X", "MI300X"),
    ],
)
def test_nvml_and_common_names_are_matched(spelling: str, name: str) -> None:
    assert sku_facts(spelling).name == name


def test_an_unknown_device_is_not_guessed_at() -> None:
    assert match_sku("cpu-core") is None
    with pytest.raises(NotFound, match="H100 80GB HBM9") as caught:
        sku_facts("NVIDIA H100 80GB HBM9")
    assert "L40S" in caught.value.hint


@given(st.sampled_from(sorted(catalogue())), st.sampled_from([str.upper, str.lower]))
def test_case_and_vendor_words_do_not_matter(name: str, case: object) -> None:
    assert callable(case)
    assert sku_facts(f"NVIDIA  {case(name)}").name == name


def test_no_spelling_means_two_devices() -> None:
    spellings = [n for s in catalogue().values() for n in {s.name, *s.aliases}]
    matched = [sku_facts(n).name for n in spellings]
    own = [s.name for s in catalogue().values() for _ in {s.name, *s.aliases}]
    assert matched == own


@pytest.mark.parametrize("name", sorted(catalogue()))
def test_facts_are_plausible_and_sourced(name: str) -> None:
    sku = catalogue()[name]
    assert 2**33 < sku.memory_bytes < 2**38
    assert 1e11 < sku.bandwidth_bytes_per_s < 1e13
    # Every accelerator so far computes 60 to 600 operations per byte it reads.
    assert 60 < sku.dense_fp16_flops / sku.bandwidth_bytes_per_s < 600
    if sku.dense_fp8_flops is not None:
        assert 1.9 < sku.dense_fp8_flops / sku.dense_fp16_flops < 2.1
    assert sku.interconnect_bytes_per_s < sku.bandwidth_bytes_per_s
    assert len(sku.source) > 20
