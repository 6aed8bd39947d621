"""Published files that the headline benchmark stands on: reading them, and refusing their absence.

| file | what | published at |
|---|---|---|
| perf_aiconfigurator_predicted.csv | predicted vLLM speeds | PyPI `aiconfigurator` 0.12.0 |
| quality_mmlu_pro_llama31_8b_70b.parquet | right or wrong per question | TIGER-AI-Lab/MMLU-Pro |
| trace_azure2023_conv.csv | arrivals and lengths | Azure/AzurePublicDataset |
| gpu_prices.csv | $/h by provider and instance | its `source` column |
"""

import csv
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from core.domain.trace import Trace
from core.errors import NotFound
from core.importing.traces import parse_trace

QUESTIONS = "quality_mmlu_pro_llama31_8b_70b.parquet"
TRACE = "trace_azure2023_conv.csv"
PRICES = "gpu_prices.csv"

Row = dict[str, str]


def rows_of(path: Path) -> list[Row]:
    """Return the rows of a CSV file by column.

    Raises:
        NotFound: There is no such file.
    """
    with _existing(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def columns_of(path: Path, names: list[str]) -> list[list[Any]]:
    """Return columns of a Parquet file.

    Raises:
        NotFound: There is no such file.
    """
    table = pq.read_table(_existing(path), columns=names)
    return [table.column(name).to_pylist() for name in names]


def trace_in(folder: Path) -> Trace:
    """Return the recorded requests, all of one class.

    Raises:
        NotFound: There is no such file.
    """
    path = _existing(folder / TRACE)
    return parse_trace(path.read_bytes(), path.name).trace


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise NotFound(
            f"There is no {path.name} in {path.parent}.",
            "Give --data the folder with the published files; docs/optimizer.md says where they "
            "come from.",
        )
    return path
