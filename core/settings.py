"""Settings, read once from `BOUTE_*` variables; nothing else reads the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import InvalidInput

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Settings:
    """Everything a process may be told from outside.

    Attributes:
        home: Folder for the SQLite database, logs and classifier files.
        database_url: SQLAlchemy URL; SQLite under `home` unless told otherwise.
        host: Address the dashboard and the gateway bind to; loopback by default.
        dashboard_port: TCP port of the Streamlit dashboard.
        gateway_port: TCP port of the OpenAI-compatible endpoint.
        replica_ports_from: First TCP port handed to replicas.
        replica_start_timeout_s: How long a replica may take to become healthy.
        cpu_devices: Number of CPU cores offered as devices; None means all of them.
        log_prompts: Whether request records keep prompt text.
    """

    home: Path
    database_url: str
    host: str = "127.0.0.1"
    dashboard_port: int = 8501
    gateway_port: int = 8780
    replica_ports_from: int = 8800
    replica_start_timeout_s: float = 300.0
    cpu_devices: int | None = None
    log_prompts: bool = False

    @property
    def logs(self) -> Path:
        """Folder for log files."""
        return self.home / "logs"

    @property
    def jobs_database_url(self) -> str:
        """Where the durable workflows keep their state: same server, or a file beside."""
        if self.database_url.startswith("sqlite"):
            return f"sqlite:///{self.home / 'workflows.db'}"
        return self.database_url

    @property
    def environment(self) -> dict[str, str]:
        """The variables that make a child process run by these very settings."""
        return {
            "BOUTE_HOME": str(self.home),
            "BOUTE_DATABASE_URL": self.database_url,
            "BOUTE_HOST": self.host,
            "BOUTE_DASHBOARD_PORT": str(self.dashboard_port),
            "BOUTE_GATEWAY_PORT": str(self.gateway_port),
            "BOUTE_REPLICA_PORTS_FROM": str(self.replica_ports_from),
            "BOUTE_REPLICA_START_TIMEOUT_S": str(self.replica_start_timeout_s),
            "BOUTE_CPU_DEVICES": str(self.cpu_devices or 0),
            "BOUTE_LOG_PROMPTS": "1" if self.log_prompts else "",
        }


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read settings from the environment.

    Raises:
        InvalidInput: A variable holds something that is not of its kind.
    """
    env = os.environ if environ is None else environ
    home = Path(env.get("BOUTE_HOME", str(REPOSITORY / ".boute"))).expanduser().resolve()
    return Settings(
        home=home,
        database_url=env.get("BOUTE_DATABASE_URL") or f"sqlite:///{home / 'boute.db'}",
        host=env.get("BOUTE_HOST", "127.0.0.1"),
        dashboard_port=_whole(env, "BOUTE_DASHBOARD_PORT", 8501),
        gateway_port=_whole(env, "BOUTE_GATEWAY_PORT", 8780),
        replica_ports_from=_whole(env, "BOUTE_REPLICA_PORTS_FROM", 8800),
        replica_start_timeout_s=_positive(env, "BOUTE_REPLICA_START_TIMEOUT_S", 300.0),
        cpu_devices=_whole(env, "BOUTE_CPU_DEVICES", 0) or None,
        log_prompts=env.get("BOUTE_LOG_PROMPTS", "") in {"1", "true", "yes"},
    )


def _positive(env: Mapping[str, str], name: str, default: float) -> float:
    try:
        value = float(env.get(name, default))
    except ValueError:
        value = -1.0
    if not value > 0:  # also refuses NaN
        raise InvalidInput(f"{name} must be a positive number, not {env[name]!r}.")
    return value


def _whole(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, str(default))
    if not text.isdigit() or int(text) > 65535:
        raise InvalidInput(f"{name} must be a whole number up to 65535, not {text!r}.")
    return int(text)
