from pathlib import Path

import pytest

from core.errors import InvalidInput
from core.settings import load_settings


def test_defaults_are_loopback_and_sqlite(tmp_path: Path) -> None:
    settings = load_settings({"BOUTE_HOME": str(tmp_path)})
    assert settings.host == "127.0.0.1"
    assert settings.database_url == f"sqlite:///{tmp_path / 'boute.db'}"
    assert settings.jobs_database_url == f"sqlite:///{tmp_path / 'workflows.db'}"


def test_postgresql_holds_the_workflows_too(tmp_path: Path) -> None:
    url = "postgresql://someone@localhost/boute"
    settings = load_settings({"BOUTE_HOME": str(tmp_path), "BOUTE_DATABASE_URL": url})
    assert settings.jobs_database_url == url


@pytest.mark.parametrize("value", ["x", "-1", "70000", "1.5", ""])
def test_a_port_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(InvalidInput, match="BOUTE_GATEWAY_PORT"):
        load_settings({"BOUTE_GATEWAY_PORT": value})


@pytest.mark.parametrize("value", ["0", "-3", "soon", "nan"])
def test_a_timeout_must_be_positive(value: str) -> None:
    with pytest.raises(InvalidInput, match="START_TIMEOUT"):
        load_settings({"BOUTE_REPLICA_START_TIMEOUT_S": value})


def test_a_child_reads_back_the_same_settings(tmp_path: Path) -> None:
    given = {
        "BOUTE_HOME": str(tmp_path),
        "BOUTE_GATEWAY_PORT": "9001",
        "BOUTE_CPU_DEVICES": "2",
        "BOUTE_LOG_PROMPTS": "1",
        "BOUTE_API_KEYS": "off",
        "BOUTE_REQUEST_RETENTION_DAYS": "0",
        "BOUTE_PLAN_FILE": str(tmp_path / "plan.json"),
    }
    settings = load_settings(given)
    assert load_settings(settings.environment) == settings


@pytest.mark.parametrize(
    ("host", "switch", "needed"),
    [
        ("127.0.0.1", "", False),
        ("localhost", "", False),
        ("0.0.0.0", "", True),
        ("127.0.0.1", "on", True),
        ("0.0.0.0", "off", False),
    ],
)
def test_keys_are_needed_beyond_loopback(host: str, switch: str, needed: bool) -> None:
    settings = load_settings({"BOUTE_HOST": host, "BOUTE_API_KEYS": switch})
    assert settings.keys_required is needed


def test_a_switch_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInput, match="BOUTE_API_KEYS"):
        load_settings({"BOUTE_API_KEYS": "maybe"})
