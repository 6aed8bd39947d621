import subprocess
import sys
from pathlib import Path

import pytest

from core.entrypoints.cli import main
from core.settings import REPOSITORY


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BOUTE_HOME", str(tmp_path))
    monkeypatch.delenv("BOUTE_DATABASE_URL", raising=False)
    return tmp_path


def test_migrate_makes_a_database(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["migrate"]) == 0
    assert (home / "boute.db").exists()
    assert "newest schema" in capsys.readouterr().out


def test_optimize_without_a_controller_says_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["migrate"])
    assert main(["optimize", "--json"]) == 1
    told = capsys.readouterr().err
    assert "No controller" in told
    assert "boute up" in told


def test_profile_without_a_controller_says_what_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["migrate"])
    assert main(["profile", "large"]) == 1
    assert "boute up" in capsys.readouterr().err


def test_a_benchmark_names_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "speed", "--help"])
    assert ended.value.code == 0
    assert "--runs" in capsys.readouterr().out


def test_a_database_without_tables_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["optimize"]) == 1
    assert "boute migrate" in capsys.readouterr().err


def test_a_setting_that_cannot_be_read_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BOUTE_GATEWAY_PORT", "many")
    assert main(["migrate"]) == 1
    assert "BOUTE_GATEWAY_PORT" in capsys.readouterr().err


def test_a_foreign_database_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BOUTE_DATABASE_URL", "mysql://somewhere/x")
    assert main(["migrate"]) == 1
    assert "SQLite or PostgreSQL" in capsys.readouterr().err


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["fly"])
    assert "invalid choice" in capsys.readouterr().err


def test_a_reader_that_leaves_early_is_no_error(home: Path) -> None:
    """`boute scenario schema | head -1`: no traceback."""
    command = [sys.executable, "-m", "core.entrypoints.cli", "scenario", "schema"]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()
    _, said = process.communicate(timeout=60)
    assert said == ""
    assert process.returncode == 141
