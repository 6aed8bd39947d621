"""Use cases of the model catalogue."""

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from core.domain.catalog import ModelSpec
from core.errors import Conflict, InvalidInput, NotFound
from core.ports import UnitOfWork, UnitOfWorkFactory

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
HUGGING_FACE_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
BYTES_PER_VALUE = {"float32": 4, "float16": 2, "bfloat16": 2}


def register_model(
    uow: UnitOfWorkFactory,
    name: str,
    path: str,
    now: datetime,
    *,
    max_model_len: int = 1024,
    max_num_seqs: int = 16,
    trust_remote_code: bool = False,
) -> ModelSpec:
    """Add a model, or change a registered one.

    Args:
        path: A folder with `config.json` and safetensors weights, or a Hugging Face id.

    Raises:
        InvalidInput: The name, the path or a limit cannot be used.
    """
    if not NAME.fullmatch(name) or name == "auto":
        raise InvalidInput(
            f"{name!r} cannot be a model name.",
            "Use up to 64 letters, digits, '.', '_' or '-'; `auto` is the gateway's own.",
        )
    if max_model_len < 1 or max_num_seqs < 1:
        raise InvalidInput(
            "The longest sequence and the batch limit must be at least 1.",
            "1024 tokens and 16 sequences are a good start.",
        )
    path = _resolved(path)
    weight_bytes, kv_bytes_per_token = _facts(path)
    model = ModelSpec(
        name=name,
        path=path,
        weight_bytes=weight_bytes,
        kv_bytes_per_token=kv_bytes_per_token,
        max_model_len=max_model_len,
        max_num_seqs=max_num_seqs,
        added_at=now,
        trust_remote_code=trust_remote_code,
    )
    with uow() as work:
        work.models.save(model)
        work.commit()
    return model


def models(uow: UnitOfWorkFactory) -> list[ModelSpec]:
    """Return every model by name."""
    with uow() as work:
        return work.models.all()


def remove_model(uow: UnitOfWorkFactory, name: str) -> None:
    """Take a model out of the catalogue; its profiles and bills stay.

    Raises:
        NotFound: There is no such model.
        Conflict: A running plan serves it.
    """
    with uow() as work:
        current = work.deployments.current()
        if current and name in current.plan.models:
            raise Conflict(
                f"The running plan serves {name!r}.",
                "Deploy a plan without it, or stop the deployment, then remove it.",
            )
        if not work.models.remove(name):
            raise NotFound(f"There is no model {name!r}.", "Reload the page.")
        work.commit()


def require_model_that_fits(work: UnitOfWork, name: str, sku: str, tp: int) -> ModelSpec:
    """Return a model if it is registered and fits on `tp` devices of a SKU.

    Raises:
        NotFound: No such model, or no such device type.
        InvalidInput: Its weights and one full sequence need more memory than there is.
    """
    model = work.models.get(name)
    if model is None:
        raise NotFound(f"There is no model {name!r}.", "Register it on Models & profiling.")
    of_sku = [d for d in work.devices.all() if d.sku == sku and d.schedulable]
    if len(of_sku) < tp:
        raise NotFound(
            f"{name} needs {tp} usable {sku} device(s); the fleet has {len(of_sku)}.",
            "Enable devices on the Inventory page, or choose fewer ranks (TP).",
        )
    needed = model.weight_bytes + model.kv_bytes_per_token * model.max_model_len
    memory = tp * min(d.memory_total_bytes for d in of_sku)
    if needed > memory:
        raise InvalidInput(
            f"{name} does not fit: its weights and one sequence of {model.max_model_len} tokens "
            f"need {needed / 2**30:.1f} GiB, {tp} x {sku} has {memory / 2**30:.1f} GiB.",
            "Use more ranks (TP), a larger device type, or a shorter maximum length.",
        )
    return model


def _resolved(path: str) -> str:
    """A folder by its absolute path: the controller may run in another folder."""
    return str(Path(path).resolve()) if path.strip() and Path(path).is_dir() else path


def _facts(path: str) -> tuple[int, int]:
    """Return weight bytes and KV bytes per token; zeros for a hub id not on this machine."""
    folder = Path(path)
    if folder.is_absolute() and folder.is_dir():
        return _weight_bytes(folder), _kv_bytes_per_token(_config(folder))
    if HUGGING_FACE_ID.fullmatch(path):
        return 0, 0
    raise InvalidInput(
        f"There is no model folder {path!r}.",
        "Give a folder that holds config.json and *.safetensors, or an id such as "
        "meta-llama/Llama-3.1-8B-Instruct.",
    )


def _weight_bytes(folder: Path) -> int:
    total = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    if total == 0:
        raise InvalidInput(
            f"The folder {str(folder)!r} holds no safetensors weights.",
            "Convert the model with transformers' save_pretrained; pickled weights are refused.",
        )
    return total


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"The folder {str(folder)!r} has no readable config.json.",
            "Point to the folder that save_pretrained wrote.",
        ) from error
    if not isinstance(config, dict):
        raise InvalidInput(f"config.json in {str(folder)!r} is not a JSON object.")
    return config


def _kv_bytes_per_token(config: dict[str, Any]) -> int:
    """Bytes of keys and values per token: 2 x layers x KV heads x head size x value size."""
    try:
        heads = int(config["num_attention_heads"])
        head_size = int(config.get("head_dim") or int(config["hidden_size"]) // heads)
        kv_heads = int(config.get("num_key_value_heads") or heads)
        layers = int(config["num_hidden_layers"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise InvalidInput(
            "config.json does not describe a decoder language model.",
            "num_hidden_layers, num_attention_heads and hidden_size are needed.",
        ) from error
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "float16")
    return 2 * layers * kv_heads * head_size * BYTES_PER_VALUE.get(dtype, 2)
