"""What `boute bench gateway` measures: BOute's gateway, LiteLLM's proxy, vLLM's router.

Each is a process of its own in front of the same back-ends, with what its operator would set to
have it serve them, and nothing that slows it down. LiteLLM (https://github.com/BerriAI/litellm,
MIT) and vllm-router (https://github.com/vllm-project/router, Apache-2.0) have environments of
their own and are no part of this one.
"""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.domain.deployment import SERVING, Deployment, DeploymentState, Replica, ReplicaState
from core.domain.fleet import Price
from core.domain.ids import new_id, utc_now
from core.domain.plan import ReplicaKind, make_plan
from core.domain.quality import QualityEstimate
from core.errors import EngineFailed, InvalidInput
from core.routing.classifier import train
from core.services import tenants
from core.services.tenants import Limits
from core.settings import REPOSITORY, Settings
from db.migrate import upgrade
from db.unit_of_work import uow_factory

START_S = 180.0
POLL_S = 0.25
CLASSES = ("easy", "hard")
PLENTY = Limits(
    requests_per_minute=2**31 - 1,
    tokens_per_minute=2**31 - 1,
    budget_usd_per_month=1e9,
    quality_floor=0.5,
)
"""Limits that are checked for every request and never reached."""


@dataclass(frozen=True)
class Subject:
    """An endpoint under load.

    Attributes:
        model: What requests name.
        key: Bearer key; empty without one.
    """

    name: str
    port: int
    model: str
    key: str = ""


@dataclass(frozen=True)
class Backend:
    """A model server to route to.

    Attributes:
        model: The name BOute gives it.
    """

    port: int
    model: str


@dataclass(frozen=True)
class Start:
    """How to start a process.

    Attributes:
        command: Program and arguments.
        environment: Added to a plain one.
        log: File for what it says.
        core: The CPU core it may use.
    """

    command: Sequence[str]
    log: Path
    core: int
    environment: Mapping[str, str] = field(default_factory=dict)


def free_ports(number: int) -> list[int]:
    """Return TCP ports that nobody uses now."""
    with contextlib.ExitStack() as stack:
        taken = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)
        ]
        return [each.getsockname()[1] for each in taken]


@contextlib.contextmanager
def process(start: Start) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process, in a session of its own, and end it with all it started."""
    plain = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    with start.log.open("wb") as log:
        running = subprocess.Popen(
            list(start.command),
            cwd=REPOSITORY,
            env={**plain, **start.environment},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        os.sched_setaffinity(running.pid, {start.core})
        try:
            yield running
        finally:
            for sign, patience_s in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 15.0)):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(running.pid, sign)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    running.wait(patience_s)


@contextlib.contextmanager
def stub(ports: Sequence[int], pace: Sequence[str], core: int, folder: Path) -> Iterator[None]:
    """Run the back-ends."""
    command = [sys.executable, "-m", "core.entrypoints.bench.gateway_stub", *pace]
    for port in ports:
        command += ["--port", str(port)]
    log = folder / "stub.log"
    with process(Start(command, log, core)) as running:
        wait_until_up(Subject("the stub", ports[0], "stub"), running, log)
        yield


@contextlib.contextmanager
def boute(backends: Sequence[Backend], core: int, folder: Path) -> Iterator[Subject]:
    """Run BOute's gateway with everything on: classes, keys, rates, budget, floor, records."""
    [port] = free_ports(1)
    home = folder / "boute"
    url = f"sqlite:///{home / 'boute.db'}"
    settings = Settings(home=home, database_url=url, gateway_port=port, api_keys=True)
    subject = Subject("boute", port, "auto", seed(settings, backends))
    log = folder / "boute.log"
    command = [sys.executable, "-m", "core.entrypoints.cli", "gateway"]
    with process(Start(command, log, core, settings.environment)) as running:
        wait_until_up(subject, running, log)
        yield subject


def seed(settings: Settings, backends: Sequence[Backend]) -> str:
    """Fill a database with a plan over the back-ends; returns the secret of a tenant's key."""
    upgrade(settings.database_url)
    uow, now = uow_factory(settings.database_url), utc_now()
    models = sorted({backend.model for backend in backends})
    kinds = {model: ReplicaKind(model, "cpu-core") for model in models}
    counts = {kinds[m]: sum(b.model == m for b in backends) for m in models}
    even = {model: 1 / len(models) for model in models}
    plan = make_plan(counts, {query_class: even for query_class in CLASSES})
    texts = [f"What is {n} + {n % 7}?" for n in range(60)]
    texts += [f"Prove step {n} of the theorem and discuss why it holds." for n in range(60)]
    classifier, facts = train(texts, [CLASSES[0]] * 60 + [CLASSES[1]] * 60, seed=0)
    active = DeploymentState.ACTIVE
    with uow() as work:
        work.classifiers.add(classifier.to_bytes(), facts, now)
        work.prices.add(Price("cpu-core", 0.04, now))
        for model in models:
            for query_class in CLASSES:
                facts_known = (50, 0.9, 0.8, 0.95, 16.0, now)
                work.outcomes.save_estimate(QualityEstimate(model, query_class, *facts_known))
        work.deployments.add(Deployment(new_id(), plan, None, active, now, active_at=now))
        for backend in backends:
            work.replicas.add(_ready(kinds[backend.model], backend.port))
        work.commit()
    tenant = tenants.create_tenant(uow, "Bench", PLENTY, now)
    return tenants.issue_key(uow, tenant.tenant_id, "bench", now).secret


def _ready(kind: ReplicaKind, port: int) -> Replica:
    now = utc_now()
    ready = ReplicaState.READY
    return Replica(
        new_id(), SERVING, kind, True, ready, now, port=port, started_at=now, ready_at=now
    )


@contextlib.contextmanager
def litellm(
    program: Path, backends: Sequence[Backend], core: int, folder: Path
) -> Iterator[Subject]:
    """Run LiteLLM's proxy with one worker and its key check, without a database."""
    [port] = free_ports(1)
    key = f"sk-{secrets.token_urlsafe(32)}"
    deployed = [
        {
            "model_name": "auto",
            "litellm_params": {
                "model": "openai/stub",
                "api_base": f"http://127.0.0.1:{backend.port}/v1",
                "api_key": "unused",
            },
        }
        for backend in backends
    ]
    told = {"model_list": deployed, "general_settings": {"master_key": key}}
    config = folder / "litellm.yaml"
    config.write_text(json.dumps(told))  # JSON is YAML
    command = [str(program), "--config", str(config), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--num_workers", "1", "--telemetry", "False"]
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    subject, log = Subject("litellm", port, "auto", key), folder / "litellm.log"
    with process(Start(command, log, core, environment)) as running:
        wait_until_up(subject, running, log)
        yield subject


@contextlib.contextmanager
def vllm_router(
    program: Path, backends: Sequence[Backend], core: int, folder: Path
) -> Iterator[Subject]:
    """Run vLLM's router, round robin: it neither classifies, nor checks keys, nor records."""
    port, metrics_port = free_ports(2)
    urls = [f"http://127.0.0.1:{backend.port}" for backend in backends]
    command = [str(program), "--host", "127.0.0.1", "--port", str(port), "--worker-urls", *urls]
    command += ["--policy", "round_robin", "--log-level", "error"]
    command += ["--prometheus-port", str(metrics_port)]
    subject, log = Subject("vllm-router", port, "stub"), folder / "vllm-router.log"
    with process(Start(command, log, core)) as running:
        wait_until_up(subject, running, log)
        yield subject


def wait_until_up(subject: Subject, running: subprocess.Popen[bytes], log: Path) -> None:
    """Return when an endpoint answers a request.

    Raises:
        EngineFailed: It ended, or does not answer in time.
    """
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s and running.poll() is None:
        if _answers(subject):
            return
        time.sleep(POLL_S)
    told = log.read_text(errors="replace")[-1500:]
    raise EngineFailed(f"{subject.name} does not answer. It said: {told}", "Is it installed?")


def _answers(subject: Subject) -> bool:
    messages = [{"role": "user", "content": "What is 1 + 1?"}]
    body = {"model": subject.model, "messages": messages, "max_tokens": 4}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {subject.key}"}
    url = f"http://127.0.0.1:{subject.port}/v1/chat/completions"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.HTTPError):
        return False


def require(program: Path | None, name: str, package: str) -> None:
    """Check that a peer's program is there, when one was named.

    Raises:
        InvalidInput: It is not.
    """
    if program is not None and not os.access(program, os.X_OK):
        raise InvalidInput(
            f"There is no program {program}.",
            f"python3 -m venv DIR && DIR/bin/pip install '{package}'; then give --{name}.",
        )
