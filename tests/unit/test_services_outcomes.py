"""What becomes of imported outcomes: quality, once per file, never instead of a measurement."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.domain.intervals import betting, wilson
from core.domain.profile import Provenance
from core.domain.quality import QualityEstimate
from core.entrypoints.cli import main
from core.errors import InvalidInput
from core.importing.outcomes import Given
from core.ports import UnitOfWorkFactory
from core.services.outcomes import import_outcomes

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
CSV = b"query,model,score,class\na?,m,1,easy\nb?,m,0,easy\nc?,m,0.5,hard\nd?,m,0.25,hard\n"


def test_quality_follows_from_a_file(any_uow: UnitOfWorkFactory) -> None:
    taken = import_outcomes(any_uow, "o.csv", CSV, NOW)
    with any_uow() as work:
        easy, hard = work.outcomes.estimates()
        assert len(work.outcomes.all()) == 4
    assert (easy, hard) == taken.estimates
    assert (easy.n, easy.mean, easy.metric) == (2, 0.5, "score")
    assert easy.provenance is Provenance.IMPORTED
    assert (easy.lower, easy.upper) == wilson(0.5, 2)
    assert (hard.lower, hard.upper) == betting([0.5, 0.25])
    assert any("No model 'm' is registered" in note for note in taken.notes)


def test_the_same_file_again_changes_nothing(any_uow: UnitOfWorkFactory) -> None:
    import_outcomes(any_uow, "o.csv", CSV, NOW)
    import_outcomes(any_uow, "o.csv", CSV, NOW, Given(query_class="other"))
    with any_uow() as work:
        assert len(work.outcomes.all()) == 4


def test_what_was_measured_here_stands(any_uow: UnitOfWorkFactory) -> None:
    measured = QualityEstimate("m", "easy", 50, 0.9, 0.8, 0.95, 9.0, NOW - timedelta(days=9))
    with any_uow() as work:
        work.outcomes.save_estimate(measured)
        work.commit()
    taken = import_outcomes(any_uow, "o.csv", CSV, NOW)
    with any_uow() as work:
        assert work.outcomes.estimates()[0] == measured
    assert [its.query_class for its in taken.estimates] == ["hard"]
    assert any("Measured here already, and kept: m in easy" in note for note in taken.notes)


def test_a_bad_row_stores_nothing(any_uow: UnitOfWorkFactory) -> None:
    with pytest.raises(InvalidInput, match="Row 6"):
        import_outcomes(any_uow, "o.csv", CSV + b"e?,m,7,hard\n", NOW)
    with any_uow() as work:
        assert work.outcomes.all() == []


def test_the_command_says_what_it_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BOUTE_HOME", str(tmp_path))
    file = tmp_path / "o.csv"
    file.write_bytes(CSV)
    assert main(["import", "outcomes", str(file), "--json"]) == 0
    [told] = json.loads(capsys.readouterr().out)["files"]
    assert (told["outcomes"], told["quality"][0]["mean"]) == (4, 0.5)
    assert main(["import", "outcomes", str(file), "--metric", "right"]) == 0
    assert "4 scored answers" in capsys.readouterr().out
    assert main(["import", "outcomes", str(tmp_path / "none.csv")]) == 1
    assert "cannot be read" in capsys.readouterr().err
