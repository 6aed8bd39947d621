"""Estimates as a use case: what is registered, what is known, what is stored."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from core.domain.catalog import ModelSpec
from core.domain.profile import Profile, Provenance
from core.errors import InvalidInput, NotFound, NotReady
from core.estimate.uncertainty import slowed
from core.ports import UnitOfWorkFactory
from core.services.estimates import estimate_profile, preview_estimate
from tests.unit.planning_world import device
from tests.unit.test_estimate_architecture import LLAMA_2_70B, llama

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def uow(memory_uow: UnitOfWorkFactory, tmp_path: Path) -> UnitOfWorkFactory:
    """Two models registered from folders, and one by its id."""
    with memory_uow() as work:
        for name, config in {"8b": llama(), "70b": LLAMA_2_70B}.items():
            work.models.save(spec(name, folder(tmp_path / name, config)))
        work.models.save(spec("hub", "meta-llama/Llama-3.1-8B"))
        work.commit()
    return memory_uow


def folder(path: Path, config: dict[str, Any]) -> str:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return str(path)


def spec(name: str, path: str) -> ModelSpec:
    return ModelSpec(name, path, 0, 0, 4096, 64, NOW)


def measured(profile: Profile, factor: float, **changes: Any) -> Profile:
    changes = {
        "provenance": Provenance.MEASURED,
        "engine": "vllm 0.24",
        "profile_id": "m",
    } | changes
    return replace(slowed(profile, factor), relative_error=None, **changes)


def keep(uow: UnitOfWorkFactory, profile: Profile) -> None:
    with uow() as work:
        work.profiles.save(profile)
        work.commit()


def tpot_ms(profile: Profile) -> float:
    return profile.levels[0].tpot_ms.mean


def test_an_estimate_is_stored_as_predicted(uow: UnitOfWorkFactory) -> None:
    estimate = estimate_profile(uow, "8b", "NVIDIA H100 80GB HBM3", NOW, tp=2)
    with uow() as work:
        assert work.profiles.all() == [estimate.profile]
    assert estimate.profile.provenance is Provenance.PREDICTED
    assert (estimate.profile.sku, estimate.profile.tp) == ("H100-SXM-80GB", 2)
    assert (estimate.points, estimate.calibrated_by) == (0, ())


def test_it_bears_the_fleets_name_of_the_device(uow: UnitOfWorkFactory) -> None:
    with uow() as work:
        work.devices.upsert([device(0, sku="NVIDIA H100 80GB HBM3")])
        work.commit()
    assert preview_estimate(uow, "8b", "H100", NOW).profile.sku == "NVIDIA H100 80GB HBM3"


def test_a_preview_stores_nothing(uow: UnitOfWorkFactory) -> None:
    preview_estimate(uow, "8b", "L40S", NOW)
    with uow() as work:
        assert work.profiles.all() == []


def test_a_measured_profile_moves_its_neighbour_and_narrows_the_interval(
    uow: UnitOfWorkFactory,
) -> None:
    before = preview_estimate(uow, "70b", "H100", NOW, tp=4)
    known = preview_estimate(uow, "8b", "H100", NOW).profile
    keep(uow, measured(known, 1.3))
    after = preview_estimate(uow, "70b", "H100", NOW, tp=4)
    assert 1.05 < tpot_ms(after.profile) / tpot_ms(before.profile) < 1.35
    assert (after.profile.relative_error or 1) < (before.profile.relative_error or 0)
    assert after.points == len(known.levels) + 1
    assert after.calibrated_by == ("8b on H100-SXM-80GB, TP 1",)


def test_profiles_that_cannot_be_used_are_named(uow: UnitOfWorkFactory) -> None:
    known = preview_estimate(uow, "8b", "H100", NOW).profile
    keep(uow, measured(known, 1.0, profile_id="a", sku="cpu-core"))
    keep(uow, measured(known, 1.0, profile_id="b", model="gone"))
    keep(uow, measured(known, 1.0, profile_id="c", model="hub"))
    estimate = preview_estimate(uow, "8b", "H100", NOW)
    assert estimate.points == 0
    assert {name.split(",")[0]: why for name, why in estimate.left_out.items()} == {
        "8b on cpu-core": "the data sheet of cpu-core is not in the catalogue",
        "gone on H100-SXM-80GB": "gone is not registered",
        "hub on H100-SXM-80GB": "The config.json of hub is not on this machine.",
    }


def test_estimates_do_not_teach_estimates(uow: UnitOfWorkFactory) -> None:
    estimate_profile(uow, "8b", "H100", NOW)
    assert preview_estimate(uow, "70b", "H100", NOW, tp=4).points == 0


def test_what_cannot_be_estimated_says_why(uow: UnitOfWorkFactory) -> None:
    with pytest.raises(InvalidInput, match="does not fit on L4"):
        preview_estimate(uow, "70b", "L4", NOW)
    with pytest.raises(NotReady, match=r"config\.json of hub"):
        preview_estimate(uow, "hub", "L4", NOW)
    with pytest.raises(NotFound, match="no model"):
        preview_estimate(uow, "nobody", "L4", NOW)
    with pytest.raises(NotFound, match="data sheet"):
        preview_estimate(uow, "8b", "abacus", NOW)
    with pytest.raises(InvalidInput, match="TP 3"):
        preview_estimate(uow, "8b", "L4", NOW, tp=3)
