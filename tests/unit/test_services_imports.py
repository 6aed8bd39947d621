"""Imports are stored whole or not at all; names and several lengths are made usable."""

from datetime import UTC, datetime

import pytest

from core.domain.catalog import ModelSpec
from core.domain.profile import Provenance
from core.errors import InvalidInput
from core.ports import UnitOfWorkFactory
from core.services import profiles
from core.services.imports import import_profiles
from core.settings import REPOSITORY

FIXTURES = REPOSITORY / "tests" / "fixtures" / "imports"
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
STEP = {"fixed": 0.02, "sequence": 0.0002, "token": 1e-7, "prefill": 5e-5}


def fixture(name: str) -> tuple[str, bytes]:
    return name, (FIXTURES / name).read_bytes()


def closed_loop(held: int, inputs: int, outputs: int) -> str:
    """A row of what a replica with the step times above would do, by mean-value arithmetic."""
    context = held * (inputs + outputs / 2)
    decode_s = STEP["fixed"] + held * STEP["sequence"] + context * STEP["token"]
    prefill_s = inputs * STEP["prefill"]
    ttft_s = (1 if held == 1 else 1.5) * decode_s + prefill_s
    tpot_s = decode_s + (held - 1) * prefill_s / (outputs - 1)
    return f"m,g,{held},{inputs},{outputs},{ttft_s!r},{tpot_s!r}"


def several_lengths() -> tuple[str, bytes]:
    header = "model,gpu,batch_size,input_tokens,output_tokens,ttft_s,tpot_s"
    rows = [closed_loop(n, i, o) for n in (1, 4, 16) for i in (128, 2048) for o in (64, 512)]
    return "lengths.csv", "\n".join([header, *rows]).encode()


def test_what_was_imported_is_stored(any_uow: UnitOfWorkFactory) -> None:
    found = import_profiles(any_uow, [fixture("profile.csv")], NOW)
    stored = profiles.profiles(any_uow)
    assert sorted(stored, key=lambda p: p.model) == sorted(found.profiles, key=lambda p: p.model)
    assert {p.provenance for p in stored} == {Provenance.IMPORTED}


def test_a_grid_keeps_its_step_time_model(sqlite_uow: UnitOfWorkFactory) -> None:
    found = import_profiles(
        sqlite_uow, [fixture("throughput_grid.json")], NOW, model="m", gpu="g", tp=2
    )
    [stored] = profiles.latest_profiles(sqlite_uow)
    assert stored == found.profiles[0]
    assert stored.step is not None
    assert stored.tp == 2


def test_one_bad_file_of_several_stores_nothing(memory_uow: UnitOfWorkFactory) -> None:
    files = [fixture("vllm_bench_4.json"), ("broken.json", b'{"request_rate": 1')]
    with pytest.raises(InvalidInput, match=r"broken\.json"):
        import_profiles(memory_uow, files, NOW)
    assert profiles.profiles(memory_uow) == []


def test_a_model_is_recognised_by_the_id_it_was_registered_with(
    memory_uow: UnitOfWorkFactory,
) -> None:
    with memory_uow() as work:
        work.models.save(ModelSpec("toy", "acme/toy-8b", 1, 1, 1024, 16, NOW))
        work.commit()
    found = import_profiles(memory_uow, [fixture("vllm_bench_4.json")], NOW)
    assert profiles.profiles(memory_uow)[0].model == found.profiles[0].model == "toy"
    assert "'acme/toy-8b' is registered as 'toy'." in found.notes


def test_an_unknown_model_is_imported_with_a_note(memory_uow: UnitOfWorkFactory) -> None:
    found = import_profiles(memory_uow, [fixture("vllm_bench_4.json")], NOW)
    assert any("No model 'acme/toy-8b' is registered" in note for note in found.notes)


def test_several_lengths_per_load_become_a_step_time_model(
    memory_uow: UnitOfWorkFactory,
) -> None:
    found = import_profiles(memory_uow, [several_lengths()], NOW)
    [profile] = found.profiles
    assert profile.step is not None
    assert profile.step.fixed_s == pytest.approx(STEP["fixed"], rel=1e-3)
    assert profile.step.per_prefill_token_s == pytest.approx(STEP["prefill"], rel=1e-3)
    assert profile.fit is not None
    assert profile.fit.e2e_median_error < 1e-3
    assert profile.fit.r_squared > 0.999
    assert profile.relative_error == pytest.approx(0, abs=1e-3)
    assert any("E2E within 0%" in note for note in found.notes)


def test_one_length_per_load_stays_a_curve(memory_uow: UnitOfWorkFactory) -> None:
    found = import_profiles(memory_uow, [fixture("profile.csv")], NOW)
    assert all(profile.step is None for profile in found.profiles)
