"""Use cases of estimates: what a model would do on devices that nobody here has."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from core.domain.catalog import ModelSpec
from core.domain.ids import new_id
from core.domain.profile import Profile, Provenance
from core.errors import BOuteError, InvalidInput, NotFound, NotReady
from core.estimate.aiconfigurator import vendor_step, vendor_version
from core.estimate.architecture import ModelShape, parse_shape
from core.estimate.calibration import Calibration, Measured
from core.estimate.hardware import SkuFacts, match_sku, sku_facts
from core.estimate.predicted import (
    ROOFLINE,
    by_cause,
    measured_points,
    predicted_profile,
)
from core.estimate.roofline import Costs, Placed
from core.ports import UnitOfWork, UnitOfWorkFactory


@dataclass(frozen=True, slots=True)
class Estimate:
    """A predicted profile, and what it rests on.

    Attributes:
        profile: Not stored unless `estimate_profile` made it.
        sku: The data sheet it was computed from.
        points: Measured or imported times that calibrated it.
        calibrated_by: Their profiles, as "model on SKU, TP n", sorted.
        left_out: Profiles that could not be used, with why.
    """

    profile: Profile
    sku: SkuFacts
    points: int
    calibrated_by: tuple[str, ...]
    left_out: dict[str, str]


def estimate_profile(
    uow: UnitOfWorkFactory,
    model: str,
    sku_name: str,
    now: datetime,
    *,
    tp: int = 1,
    pp: int = 1,
    vendor: bool = False,
) -> Estimate:
    """Predict a profile and store it; measured and imported ones stand before it.

    Args:
        sku_name: A device type of the catalogue, by any of its names.
        vendor: Ask aiconfigurator instead of the roofline.

    Raises:
        NotFound: No such model or device type.
        NotReady: The model's `config.json` is not on this machine, or aiconfigurator is missing.
        InvalidInput: It does not fit, or cannot be read.
    """
    estimate = preview_estimate(uow, model, sku_name, now, tp=tp, pp=pp, vendor=vendor)
    with uow() as work:
        work.profiles.save(estimate.profile)
        work.commit()
    return estimate


def preview_estimate(
    uow: UnitOfWorkFactory,
    model: str,
    sku_name: str,
    now: datetime,
    *,
    tp: int = 1,
    pp: int = 1,
    vendor: bool = False,
) -> Estimate:
    """Do what `estimate_profile` does, but store nothing."""
    with uow() as work:
        spec = _registered(work, model)
        placed = Placed(_shape(spec), sku_facts(sku_name), tp, pp)
        stored_as = _fleet_name(work, placed.sku)
        known, left_out = _usable_profiles(work)
    costs = _vendor_costs(spec, placed) if vendor else None
    calibration = Calibration.fit(_points(known, placed, costs))
    profile = predicted_profile(
        model,
        placed,
        now,
        new_id(),
        max_num_seqs=spec.max_num_seqs,
        max_model_len=spec.max_model_len,
        calibration=calibration,
        costs=costs,
        engine=vendor_version() if vendor else ROOFLINE,
    )
    return Estimate(
        profile=replace(profile, sku=stored_as),
        sku=placed.sku,
        points=calibration.points,
        calibrated_by=() if vendor else tuple(sorted({_name(k.profile) for k in known})),
        left_out=left_out,
    )


@dataclass(frozen=True, slots=True)
class _Known:
    profile: Profile
    shape: ModelShape
    sku: SkuFacts


def _points(known: Sequence[_Known], placed: Placed, costs: Costs | None) -> list[Measured]:
    """Return what profiles teach. Of another estimator only the same kind's count: it is asked
    for one (model, SKU, TP) at a time."""
    if costs is None:
        return [p for k in known for p in measured_points(k.profile, k.shape, k.sku)]
    same = [k for k in known if k.sku == placed.sku and k.shape == placed.shape]
    same = [k for k in same if (k.profile.tp, k.profile.pp) == (placed.tp, placed.pp)]
    return [p for k in same for p in measured_points(k.profile, k.shape, k.sku, costs)]


def _vendor_costs(spec: ModelSpec, placed: Placed) -> Costs:
    return by_cause(vendor_step(Path(spec.path), placed.sku, placed.tp, placed.pp))


def _usable_profiles(work: UnitOfWork) -> tuple[list[_Known], dict[str, str]]:
    """Return measured and imported profiles whose model and device are known, and the others."""
    specs = {spec.name: spec for spec in work.models.all()}
    known: list[_Known] = []
    left_out: dict[str, str] = {}
    for profile in work.profiles.latest():
        if profile.provenance is Provenance.PREDICTED:
            continue
        sku = match_sku(profile.sku)
        try:
            if sku is None:
                raise NotFound(f"the data sheet of {profile.sku} is not in the catalogue")
            if profile.model not in specs:
                raise NotFound(f"{profile.model} is not registered")
            shape = _shape(specs[profile.model])
            Placed(shape, sku, profile.tp, profile.pp)
            known.append(_Known(profile, shape, sku))
        except BOuteError as error:
            left_out[_name(profile)] = error.message
    return known, left_out


def _name(profile: Profile) -> str:
    return f"{profile.model} on {profile.sku}, TP {profile.tp}"


def _fleet_name(work: UnitOfWork, sku: SkuFacts) -> str:
    """Return the fleet's own name of a device type, so that plans find the profile."""
    names = sorted({device.sku for device in work.devices.all()})
    return next((name for name in names if match_sku(name) == sku), sku.name)


def _registered(work: UnitOfWork, name: str) -> ModelSpec:
    spec = work.models.get(name)
    if spec is None:
        raise NotFound(f"There is no model {name!r}.", "Register it on Models & profiling.")
    return spec


def _shape(spec: ModelSpec) -> ModelShape:
    path = Path(spec.path)
    if not path.is_absolute() or not path.is_dir():
        raise NotReady(
            f"The config.json of {spec.name} is not on this machine.",
            "Download the model with its config.json and register the folder instead of the id.",
        )
    try:
        config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotReady(
            f"{spec.path} has no readable config.json.", "Register the folder where it is now."
        ) from error
    if not isinstance(config, dict):
        raise InvalidInput(f"config.json of {spec.name} is not a JSON object.")
    return parse_shape(config)
