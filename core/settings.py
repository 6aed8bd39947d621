"""Settings, read once from `BOUTE_*` variables; nothing else reads the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import InvalidInput

REPOSITORY = Path(__file__).resolve().parent.parent
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


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
        api_keys: Whether the gateway asks for API keys; None asks for them beyond loopback.
        request_retention_days: Age at which request records are removed; 0 keeps them.
        request_time_limit_s: Longest time to the end of an answer through the gateway.
        plan_file: Plan and services of a fleet that somebody else runs, such as Kubernetes; None
            for what this database's controller runs.
        listen_fd: Descriptor of a socket that `boute up` listens on for this process; None: it
            opens its own.
        model_roots: Folders that models may lie in; empty allows every folder.
        judge_api_key: Key of the model that judges answers; never stored or logged.
        check_share: Share (0..1) of the gateway's queries that are also put to the best model.
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
    api_keys: bool | None = None
    request_retention_days: int = 90
    request_time_limit_s: float = 600.0
    plan_file: Path | None = None
    listen_fd: int | None = None
    model_roots: tuple[Path, ...] = ()
    judge_api_key: str = field(default="", repr=False)
    check_share: float = 0.0

    @property
    def keys_required(self) -> bool:
        """Whether the gateway asks for API keys."""
        return self.host not in LOOPBACK if self.api_keys is None else self.api_keys

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
            "BOUTE_API_KEYS": {None: "", True: "on", False: "off"}[self.api_keys],
            "BOUTE_REQUEST_RETENTION_DAYS": str(self.request_retention_days),
            "BOUTE_REQUEST_TIME_LIMIT_S": str(self.request_time_limit_s),
            "BOUTE_PLAN_FILE": str(self.plan_file or ""),
            "BOUTE_JUDGE_API_KEY": self.judge_api_key,
            "BOUTE_CHECK_SHARE": str(self.check_share),
            "BOUTE_MODEL_ROOTS": os.pathsep.join(map(str, self.model_roots)),
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
        api_keys=_switch(env, "BOUTE_API_KEYS"),
        request_retention_days=_whole(env, "BOUTE_REQUEST_RETENTION_DAYS", 90),
        request_time_limit_s=_positive(env, "BOUTE_REQUEST_TIME_LIMIT_S", 600.0),
        plan_file=Path(env["BOUTE_PLAN_FILE"]) if env.get("BOUTE_PLAN_FILE") else None,
        judge_api_key=env.get("BOUTE_JUDGE_API_KEY", ""),
        check_share=_share(env, "BOUTE_CHECK_SHARE"),
        listen_fd=_whole(env, "BOUTE_LISTEN_FD", 0) or None,
        model_roots=_folders(env, "BOUTE_MODEL_ROOTS"),
    )


def _folders(env: Mapping[str, str], name: str) -> tuple[Path, ...]:
    named = [part for part in env.get(name, "").split(os.pathsep) if part]
    return tuple(Path(part).expanduser().resolve() for part in named)


def _switch(env: Mapping[str, str], name: str) -> bool | None:
    text = env.get(name, "")
    if text not in {"", "on", "off"}:
        raise InvalidInput(f"{name} must be 'on' or 'off', not {text!r}.")
    return None if not text else text == "on"


def _share(env: Mapping[str, str], name: str) -> float:
    text = env.get(name) or "0"
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:  # also refuses NaN
        raise InvalidInput(f"{name} must be a share from 0 to 1, not {text!r}.")
    return value


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
