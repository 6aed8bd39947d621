"""`boute bench router` on a small file of the published form."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.entrypoints.bench.headline_data import QUESTIONS
from core.entrypoints.bench.router import OURS, TABLE, told
from core.entrypoints.bench.router_peers import PEERS
from core.entrypoints.bench.router_questions import MODELS, questions_in
from core.entrypoints.cli import main
from core.errors import NotFound
from tests.unit.routing_world import world

COUNT = 160


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Half of the questions come twice, the second time with other options."""
    made = world(COUNT, seed=0)
    texts = made.texts[: COUNT // 2] * 2
    right = made.scores.astype(np.int8)
    columns = {
        "question": texts,
        "options_json": [json.dumps([f"option {n}", "none"]) for n in range(COUNT)],
        "category": ["law" if n % 2 else "maths" for n in range(COUNT)],
        f"correct__{MODELS[0]}": right[:, 1],
        f"correct__{MODELS[1]}": right[:, 0],
    }
    pq.write_table(pa.table(columns), tmp_path / QUESTIONS)
    return tmp_path


def test_questions_of_one_wording_are_one_group(data: Path) -> None:
    questions = questions_in(data)
    assert len(set(questions.groups.tolist())) == COUNT // 2
    assert questions.texts[0].endswith("\nA. option 0\nB. none")
    assert set(questions.gain.tolist()) <= {-1.0, 0.0, 1.0}


def test_every_router_is_measured_and_told(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "router", "--data", str(data), "--folds", "2", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    routers = result["routers"]
    assert set(routers) == {OURS, TABLE, *PEERS}
    assert all(its["apgr"] <= routers["oracle"]["apgr"] for its in routers.values())
    assert routers["oracle"]["cpt_50"] < routers["random"]["cpt_50"]
    assert result["wordings"] == COUNT // 2
    assert result["latency"]["p50_ms"] <= result["latency"]["p99_ms"]
    assert set(result["models"]) == set(MODELS)
    text = told(result)
    assert "APGR" in text
    assert "kNN on TF-IDF" in text


def test_a_folder_without_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=QUESTIONS):
        questions_in(tmp_path)
