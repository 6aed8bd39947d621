"""The parts of serving that are pure: command line, ledger, plan changes, logs, ports."""

import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.domain.catalog import ModelSpec
from core.domain.deployment import Replica, ReplicaState
from core.domain.fleet import Device, DeviceKind
from core.domain.plan import ReplicaKind, make_plan
from core.errors import EnvironmentFailed, InvalidInput
from core.serving import ledger, plan_changes, server_log
from core.serving.command_line import engine_version, require_allowed, vllm_command
from core.serving.ports_pool import free_port

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SMALL = ReplicaKind("small", "cpu-core")
LARGE = ReplicaKind("large", "cpu-core")


def device(
    index: int, kind: DeviceKind = DeviceKind.CPU, used: int = 0, node: str = "n"
) -> Device:
    sku = "cpu-core" if kind is DeviceKind.CPU else "H100"
    name = f"{node}/cpu/{index}" if kind is DeviceKind.CPU else f"GPU-{index}"
    return Device(name, node, index, sku, kind, 80 * 2**30, used, None, None, NOW)


def replica(kind: ReplicaKind = SMALL, **changes: object) -> Replica:
    made = Replica("r", "deployment", kind, True, ReplicaState.PENDING, NOW, port=8800)
    return replace(made, **changes)  # type: ignore[arg-type]


def model(path: str, **changes: object) -> ModelSpec:
    return replace(ModelSpec("small", path, 10, 1, 256, 4, NOW), **changes)  # type: ignore[arg-type]


def option(arguments: tuple[str, ...], name: str) -> str:
    return arguments[arguments.index(name) + 1]


def test_a_local_model_on_two_cores(tmp_path: Path) -> None:
    kind = replace(SMALL, tp=2)
    command = vllm_command(replica(kind), model(str(tmp_path)), [device(0), device(3)])
    assert command.arguments[1:3] == ("-m", "vllm.entrypoints.openai.api_server")
    assert option(command.arguments, "--model") == str(tmp_path.resolve())
    assert option(command.arguments, "--served-model-name") == "small"
    assert option(command.arguments, "--host") == "127.0.0.1"
    assert option(command.arguments, "--port") == "8800"
    assert option(command.arguments, "--max-model-len") == "256"
    assert option(command.arguments, "--max-num-seqs") == "4"
    assert option(command.arguments, "--tensor-parallel-size") == "2"
    assert "--enforce-eager" in command.arguments
    assert "--trust-remote-code" not in command.arguments
    assert command.environment["VLLM_CPU_OMP_THREADS_BIND"] == "0|3"
    assert "VLLM_ENABLE_V1_MULTIPROCESSING" not in command.environment
    assert command.environment["HF_HUB_OFFLINE"] == "1"
    assert command.environment["BOUTE_REPLICA_ID"] == "r"


def test_one_core_has_no_process_between_engine_and_worker(tmp_path: Path) -> None:
    command = vllm_command(replica(), model(str(tmp_path)), [device(1)])
    assert command.environment["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"


def test_a_hub_model_on_gpus() -> None:
    kind = ReplicaKind("small", "H100", pp=2)
    gpus = [device(4, DeviceKind.CUDA), device(5, DeviceKind.CUDA, used=40 * 2**30)]
    spec = model("meta-llama/Llama-3.1-8B-Instruct", trust_remote_code=True)
    command = vllm_command(replica(kind), spec, gpus)
    assert command.environment["CUDA_VISIBLE_DEVICES"] == "GPU-4,GPU-5"
    assert "HF_HUB_OFFLINE" not in command.environment
    assert "--trust-remote-code" in command.arguments
    assert "--enforce-eager" not in command.arguments
    assert option(command.arguments, "--pipeline-parallel-size") == "2"
    assert option(command.arguments, "--gpu-memory-utilization") == "0.47"


@pytest.mark.parametrize(
    "path", ["--load-format=dummy", "-x/y", "no/such/folder/here", "", "a\0b"]
)
def test_a_path_that_is_no_model_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput):
        vllm_command(replica(), model(path), [device(0)])


def test_models_may_be_confined_to_folders(tmp_path: Path) -> None:
    inside, outside = tmp_path / "models" / "a", tmp_path / "models-too"
    for folder in (inside, outside):
        folder.mkdir(parents=True)
    link = tmp_path / "models" / "link"
    link.symlink_to(outside)
    roots = [tmp_path / "models"]
    require_allowed(str(inside), roots)
    require_allowed(str(outside), [])
    require_allowed("meta-llama/Llama-3.1-8B-Instruct", roots)
    for path in (outside, link, inside / ".." / ".." / "models-too"):
        with pytest.raises(InvalidInput, match="outside of the folders for models"):
            require_allowed(str(path), roots)


@pytest.mark.parametrize("name", ["--host", "a b", "", "x" * 65, "a\nb"])
def test_a_name_that_could_be_an_option_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        vllm_command(replica(), model(str(tmp_path), name=name), [device(0)])


def test_a_wrong_number_of_devices_or_no_port_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="needs 1 devices"):
        vllm_command(replica(), model(str(tmp_path)), [])
    with pytest.raises(InvalidInput, match="port"):
        vllm_command(replica(port=None), model(str(tmp_path)), [device(0)])
    with pytest.raises(InvalidInput, match="limits"):
        vllm_command(replica(), model(str(tmp_path), max_model_len=0), [device(0)])


def test_the_engine_names_itself() -> None:
    assert engine_version().startswith("vllm")


def test_the_fullest_node_with_room_is_filled_first() -> None:
    free = [device(0, node="a"), device(1, node="a"), device(0, node="b")]
    assert [d.node for d in ledger.choose(SMALL, free) or ()] == ["b"]
    assert [d.node for d in ledger.choose(replace(SMALL, tp=2), free) or ()] == ["a", "a"]
    assert ledger.choose(replace(SMALL, tp=3), free) is None


def test_unknown_weights_need_an_almost_empty_gpu() -> None:
    kind = ReplicaKind("small", "H100")
    hub = model("a/b", weight_bytes=0)
    half = device(0, DeviceKind.CUDA, used=20 * 2**30)
    assert ledger.lacks_memory(kind, hub, half)
    assert not ledger.lacks_memory(kind, hub, device(0, DeviceKind.CUDA, used=2**30))
    assert not ledger.lacks_memory(kind, model("a"), half)
    assert ledger.lacks_memory(kind, model("a", weight_bytes=70 * 2**30), half)
    assert not ledger.lacks_memory(replace(kind, tp=2), model("a", weight_bytes=70 * 2**30), half)
    assert not ledger.lacks_memory(SMALL, hub, device(0))


def test_what_is_further_along_is_kept() -> None:
    states = [ReplicaState.PENDING, ReplicaState.READY, ReplicaState.STARTING]
    wanted = [replica(replica_id=s.value, state=s) for s in states]
    found = plan_changes.compare(make_plan({SMALL: 2, LARGE: 1}, {}), wanted)
    assert [r.replica_id for r in found.kept] == ["ready", "starting"]
    assert [r.replica_id for r in found.surplus] == ["pending"]
    assert found.missing == (LARGE,)
    assert not found.complete


def test_back_off_grows_to_a_minute_and_long_service_forgives() -> None:
    waits = [plan_changes.may_start_at(replica(restarts=n)) - NOW for n in (0, 1, 2, 6, 50)]
    assert [w.total_seconds() for w in waits] == [0, 2, 4, 60, 60]
    served = replica(restarts=2, ready_at=NOW, stopped_at=NOW + timedelta(hours=1))
    assert plan_changes.restarts_after(served) == 1
    assert plan_changes.restarts_after(replace(served, stopped_at=NOW)) == 3
    assert plan_changes.exhausted(replace(served, stopped_at=NOW))


ENGINE_LOG = """\
(EngineCore pid=7) ERROR 11-24 02:15:15 [core.py:99] Traceback (most recent call last):
(EngineCore pid=7) ERROR 11-24 02:15:15 [core.py:99]   File "x.py", line 3, in load
(EngineCore pid=7) ERROR 11-24 02:15:15 [core.py:99] ValueError: No safetensors in the folder
(APIServer pid=5) RuntimeError: Engine core initialization failed. See root cause above.
nanobind: leaked 3 types!
 - leaked type "a.b"
 - ... skipped remainder
/usr/lib/resource_tracker.py:254: UserWarning: There appear to be 1 leaked semaphore objects
  warnings.warn('resource_tracker')
"""


def test_the_cause_is_found_among_consequences_and_noise(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text(ENGINE_LOG)
    text = server_log.tail(log, 100)
    assert text.splitlines()[-1].endswith("See root cause above.")
    assert server_log.cause(text) == "ValueError: No safetensors in the folder"
    assert server_log.cause("all is well") == ""
    assert server_log.tail(log, 1).count("\n") == 0


def test_a_validation_error_is_told_with_what_it_is_about() -> None:
    text = "(APIServer pid=5) pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
    text += "(APIServer pid=5)   Value error, max_model_len (4096) is greater than 256 [type=x]\n"
    text += "(APIServer pid=5)     For further information visit https://errors.pydantic.dev\n"
    assert "max_model_len (4096) is greater than 256" in server_log.cause(text)


def test_a_log_that_is_not_text_or_huge_is_read_from_its_end(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_bytes(b"\xff\xfe" * 300_000 + b"\nthe end\n")
    assert server_log.tail(log, 1) == "the end"


def test_ports_in_use_or_taken_are_skipped() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        first = busy.getsockname()[1]
        if first > 65000:
            pytest.skip("no room above this port")
        port = free_port("127.0.0.1", first, {first + 1})
    assert port >= first + 2


def test_no_port_at_all_is_said() -> None:
    with pytest.raises(EnvironmentFailed, match="BOUTE_REPLICA_PORTS_FROM"):
        free_port("127.0.0.1", 65000, set(range(65000, 65536)))
