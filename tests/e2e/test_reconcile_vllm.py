"""The reconcile loop with real vLLM: deploy, kill the engine, recover, stop, leave nothing."""

import json
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from core.domain.deployment import Replica, ReplicaState, job_owner
from core.domain.ids import new_id, utc_now
from core.domain.plan import ReplicaKind, make_plan
from core.ports import UnitOfWorkFactory
from core.services import catalog, deployments, inventory
from core.serving import process_group
from core.serving.launcher import LocalLauncher
from core.serving.probe_cpu import SKU, CpuProbe
from core.serving.reconcile import Reconciler
from core.settings import load_settings

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]

KIND = ReplicaKind("tiny", SKU)
PATIENCE_S = 300.0
TICK_S = 0.3
READY, FAILED, STOPPED = ReplicaState.READY, ReplicaState.FAILED, ReplicaState.STOPPED


@dataclass
class Controller:
    """A reconcile loop over a database of its own."""

    uow: UnitOfWorkFactory
    launcher: LocalLauncher
    reconciler: Reconciler

    def until(self, condition: Callable[[list[Replica]], bool]) -> list[Replica]:
        deadline_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline_s:
            self.reconciler.tick()
            replicas = deployments.replicas(self.uow)
            if condition(replicas):
                return replicas
            time.sleep(TICK_S)
        raise AssertionError([(r.state, r.message) for r in deployments.replicas(self.uow)])

    def until_ready(self) -> Replica:
        replicas = self.until(lambda found: any(r.state is READY for r in found))
        return next(r for r in replicas if r.state is READY)


@pytest.fixture
def tiny_model(tmp_path: Path) -> Path:
    """A Llama with random weights: slow enough to be real, small enough to load at once."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from core.demo.train import build_tokenizer

    tokenizer = build_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    folder = tmp_path / "tiny"
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def controller(
    sqlite_uow: UnitOfWorkFactory, tiny_model: Path, tmp_path: Path
) -> Iterator[Controller]:
    settings = load_settings(
        {"BOUTE_HOME": str(tmp_path / "home"), "BOUTE_REPLICA_PORTS_FROM": "18850"}
    )
    probe = CpuProbe(settings)
    launcher = LocalLauncher(settings)
    reconciler = Reconciler(sqlite_uow, launcher, probe, settings)
    inventory.refresh(sqlite_uow, probe)
    catalog.register_model(sqlite_uow, "tiny", str(tiny_model), utc_now(), max_model_len=256)
    yield Controller(sqlite_uow, launcher, reconciler)
    reconciler.shutdown()


def processes_of(replica: Replica) -> list[psutil.Process]:
    facts = (replica.replica_id, replica.pid, replica.process_started_at)
    return process_group.members(process_group.Marks(*facts))


def answer_of(replica: Replica) -> int:
    """Ask the server for a few tokens; returns how many came."""
    question = {"model": "tiny", "prompt": "1+1=", "max_tokens": 4, "ignore_eos": True}
    request = urllib.request.Request(
        f"{replica.base_url}/v1/completions",
        json.dumps(question).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        usage: dict[str, int] = json.load(answer)["usage"]
    return usage["completion_tokens"]


def test_a_replica_recovers_from_a_killed_engine_and_leaves_nothing(
    controller: Controller,
) -> None:
    plan = make_plan({KIND: 1}, {"easy": {"tiny": 1.0}})
    deployment = deployments.deploy_plan(controller.uow, plan, utc_now())
    first = controller.until_ready()
    assert answer_of(first) == 4
    assert (first.memory_bytes or 0) > 100_000_000
    assert controller.launcher.requests_in_flight(first) == 0

    engine = next(p for p in processes_of(first) if "EngineCore" in p.name())
    engine.kill()
    replicas = controller.until(lambda found: any(r.state is FAILED for r in found))
    failed = next(r for r in replicas if r.state is FAILED)
    assert failed.replica_id == first.replica_id
    assert failed.message.startswith("It died while it served.")
    assert processes_of(first) == []
    second = controller.until_ready()
    assert second.restarts == 1
    assert answer_of(second) == 4

    deployments.stop(controller.uow, deployment.deployment_id, utc_now())
    controller.until(lambda found: all(r.state in (STOPPED, FAILED) for r in found))
    assert processes_of(second) == []
    with pytest.raises(ConnectionRefusedError), socket.socket() as probe:
        probe.connect((second.host, second.port or 0))


def test_a_model_that_cannot_be_loaded_fails_with_its_cause(
    controller: Controller, tiny_model: Path
) -> None:
    weights = tiny_model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    pending = ReplicaState.PENDING
    replica = Replica(new_id(), job_owner("a"), KIND, True, pending, utc_now())
    with controller.uow() as work:
        work.replicas.add(replica)
        work.commit()
    (failed,) = controller.until(lambda found: found[0].state in (FAILED, READY))
    assert failed.state is FAILED
    assert "SafetensorError" in failed.message.splitlines()[1]
    assert processes_of(failed) == []
