import json
from pathlib import Path

import pytest

from core.domain.fleet import Device, DeviceKind
from core.domain.ids import utc_now
from core.errors import Conflict, InvalidInput, NotFound
from core.ports import UnitOfWorkFactory
from core.services import catalog, deployments, inventory, profiles, quality
from tests.unit.small_world import PLAN, add_devices, add_models

CONFIG = {
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "hidden_size": 64,
    "dtype": "bfloat16",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "model.safetensors").write_bytes(b"x" * 1000)
    return tmp_path


def test_a_folder_is_described_by_its_files(sqlite_uow: UnitOfWorkFactory, folder: Path) -> None:
    model = catalog.register_model(sqlite_uow, "m", str(folder), utc_now())
    assert model.weight_bytes == 1000
    # 2 (keys and values) x 4 layers x 2 heads x 8 wide x 2 bytes
    assert model.kv_bytes_per_token == 2 * 4 * 2 * 8 * 2
    assert catalog.models(sqlite_uow) == [model]


def test_a_hub_id_is_taken_as_it_is(sqlite_uow: UnitOfWorkFactory) -> None:
    model = catalog.register_model(sqlite_uow, "m", "meta-llama/Llama-3.1-8B", utc_now())
    assert model.weight_bytes == 0
    assert not model.trust_remote_code


@pytest.mark.parametrize("path", ["/nowhere/at/all", "", "--port", "a/b/c", "../x"])
def test_an_unknown_path_is_refused_with_a_hint(sqlite_uow: UnitOfWorkFactory, path: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        catalog.register_model(sqlite_uow, "m", path, utc_now())
    assert "config.json" in refused.value.hint
    assert catalog.models(sqlite_uow) == []


@pytest.mark.parametrize("name", ["auto", "", "a b", "-x", "x" * 65, "../m"])
def test_an_unusable_name_is_refused(
    sqlite_uow: UnitOfWorkFactory, folder: Path, name: str
) -> None:
    with pytest.raises(InvalidInput, match="model name"):
        catalog.register_model(sqlite_uow, name, str(folder), utc_now())


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"num_hidden_layers": "x"}'])
def test_a_broken_config_is_refused(
    sqlite_uow: UnitOfWorkFactory, folder: Path, content: str
) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(InvalidInput):
        catalog.register_model(sqlite_uow, "m", str(folder), utc_now())


def test_pickled_weights_are_refused(sqlite_uow: UnitOfWorkFactory, folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InvalidInput, match="safetensors"):
        catalog.register_model(sqlite_uow, "m", str(folder), utc_now())


def test_a_model_that_does_not_fit_is_refused_before_anything_starts(
    sqlite_uow: UnitOfWorkFactory, folder: Path
) -> None:
    device = Device("d", "n", 0, "tiny", DeviceKind.CUDA, 900, 0, None, None, utc_now())
    with sqlite_uow() as work:
        work.devices.upsert([device])
        work.commit()
    catalog.register_model(sqlite_uow, "m", str(folder), utc_now())
    add_models(sqlite_uow)
    with pytest.raises(InvalidInput, match="does not fit") as refused:
        profiles.request_profile(sqlite_uow, "m", "tiny", utc_now(), query_set="arithmetic")
    assert "TP" in refused.value.hint
    with pytest.raises(InvalidInput, match="does not fit"):
        quality.request_quality(sqlite_uow, "m", "tiny", utc_now(), query_set="arithmetic")


def test_jobs_need_what_they_name(sqlite_uow: UnitOfWorkFactory) -> None:
    add_devices(sqlite_uow, 1)
    add_models(sqlite_uow)
    now = utc_now()
    with pytest.raises(NotFound, match="no model"):
        profiles.request_profile(sqlite_uow, "ghost", "cpu-core", now, query_set="arithmetic")
    with pytest.raises(NotFound, match="query set"):
        profiles.request_profile(sqlite_uow, "small", "cpu-core", now, query_set="ghost")
    with pytest.raises(NotFound, match="has 1"):
        profiles.request_profile(
            sqlite_uow, "small", "cpu-core", now, tp=2, query_set="arithmetic"
        )
    with pytest.raises(InvalidInput, match="Load levels"):
        profiles.request_profile(
            sqlite_uow, "small", "cpu-core", now, query_set="arithmetic", concurrencies=[0]
        )
    with pytest.raises(InvalidInput, match="at least one query"):
        quality.request_quality(
            sqlite_uow, "small", "cpu-core", now, query_set="arithmetic", per_class=0
        )


def test_a_served_model_cannot_be_removed(sqlite_uow: UnitOfWorkFactory) -> None:
    add_devices(sqlite_uow, 2)
    add_models(sqlite_uow)
    deployments.deploy_plan(sqlite_uow, PLAN, utc_now())
    with pytest.raises(Conflict, match="serves"):
        catalog.remove_model(sqlite_uow, "large")
    with pytest.raises(NotFound):
        catalog.remove_model(sqlite_uow, "ghost")


@pytest.mark.parametrize("price", [0.0, -1.0, float("nan"), float("inf")])
def test_a_price_must_be_above_zero(sqlite_uow: UnitOfWorkFactory, price: float) -> None:
    with pytest.raises(InvalidInput, match="above zero"):
        inventory.set_price(sqlite_uow, "cpu-core", price, utc_now())
    assert inventory.price_history(sqlite_uow) == []
