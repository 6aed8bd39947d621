"""Facts of accelerators that nobody here has to own: what a roofline is computed from."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from core.errors import NotFound

CATALOGUE = "skus.toml"


@dataclass(frozen=True, slots=True)
class SkuFacts:
    """One device type as its maker describes it.

    Attributes:
        name: Short name, unique in the catalogue.
        vendor: Lower case.
        generation: Architecture, such as "hopper"; devices of one share kernels and habits.
        memory_bytes: Memory of one device.
        bandwidth_bytes_per_s: Memory bandwidth.
        dense_fp16_flops: Tensor operations per second in fp16 or bf16, without sparsity.
        dense_fp8_flops: The same in fp8; None where the hardware has none.
        interconnect_bytes_per_s: To its peers in the node, one direction.
        aliases: Other spellings: NVML's name, clouds' names.
        source: Where the facts are published.
    """

    name: str
    vendor: str
    generation: str
    memory_bytes: int
    bandwidth_bytes_per_s: float
    dense_fp16_flops: float
    dense_fp8_flops: float | None
    interconnect_bytes_per_s: float
    aliases: tuple[str, ...] = ()
    source: str = ""


@cache
def catalogue() -> dict[str, SkuFacts]:
    """Return the device types that ship with BOute, by name."""
    text = files("core.estimate").joinpath(CATALOGUE).read_text(encoding="utf-8")
    facts = map(_facts, tomllib.loads(text)["sku"])
    return {sku.name: sku for sku in facts}


def match_sku(name: str) -> SkuFacts | None:
    """Return the facts of a device by NVML's or a common name; None when it is not known.

    Case, vendor words and punctuation do not matter. A name that says more than the catalogue's
    ("NVIDIA H100 80GB HBM3e, 700 W") is not guessed at.
    """
    return _by_spelling().get(_spelling(name))


def sku_facts(name: str) -> SkuFacts:
    """Return the facts of a device by any of its names.

    Raises:
        NotFound: The catalogue does not have it.
    """
    found = match_sku(name)
    if found is None:
        raise NotFound(
            f"The data sheet of {name!r} is not in the catalogue.",
            f"Choose one of {', '.join(catalogue())}, or measure a profile on the device.",
        )
    return found


@cache
def _by_spelling() -> dict[str, SkuFacts]:
    return {
        _spelling(name): sku for sku in catalogue().values() for name in (sku.name, *sku.aliases)
    }


def _spelling(name: str) -> str:
    words = re.findall(r"[a-z0-9]+", name.lower())
    return "".join(word for word in words if word not in {"nvidia", "tesla", "amd", "intel"})


def _facts(row: Mapping[str, Any]) -> SkuFacts:
    fp8 = row.get("fp8_tflops")
    return SkuFacts(
        name=row["name"],
        vendor=row["vendor"],
        generation=row["generation"],
        memory_bytes=int(row["memory_gib"] * 2**30),
        bandwidth_bytes_per_s=row["bandwidth_gb_s"] * 1e9,
        dense_fp16_flops=row["fp16_tflops"] * 1e12,
        dense_fp8_flops=None if fp8 is None else fp8 * 1e12,
        interconnect_bytes_per_s=row["interconnect_gb_s"] * 1e9,
        aliases=tuple(row["aliases"]),
        source=row["source"],
    )
