"""The adapter to aiconfigurator: its arithmetic always, the real package where it is installed."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.profile import StepTime
from core.errors import InvalidInput, NotReady
from core.estimate.aiconfigurator import step_from_times, vendor_step
from core.estimate.hardware import sku_facts
from core.estimate.predicted import by_cause
from core.estimate.roofline import Load
from tests.unit.test_estimate_architecture import llama

installed = pytest.mark.skipif(
    not find_spec("aiconfigurator_core"), reason="aiconfigurator-core is not installed"
)
POSITIVE = st.floats(1e-6, 1e-2)


@settings(deadline=None)
@given(POSITIVE, POSITIVE, st.floats(1e-9, 1e-6), st.floats(1e-6, 1e-3))
def test_a_step_time_is_found_again(
    fixed: float, sequence: float, context: float, token: float
) -> None:
    def time_ms(phase: str, batch: int, prompt: int, answer: int) -> float:
        if phase == "prefill":
            return 1000 * (fixed + sequence + token * prompt)
        return 1000 * (fixed + sequence * batch + context * batch * (prompt + answer / 2))

    step = step_from_times(time_ms)
    assert step.fixed_s == pytest.approx(fixed, rel=1e-3, abs=1e-6)
    assert step.per_sequence_s == pytest.approx(sequence, rel=1e-3, abs=1e-7)
    assert step.per_prefill_token_s == pytest.approx(token, rel=1e-3)
    assert step.per_request_s == pytest.approx(0, abs=1e-4)


def test_a_step_time_by_cause_is_the_step_time() -> None:
    cost = by_cause(StepTime(1.0, 0.1, 0.01, 0.001, 0.5))(Load(3, 50, 2, 400))
    assert sum(cost) == pytest.approx(1.0 + 0.1 * 5 + 0.01 * 50 + 0.001 * 400 + 0.5 * 2)


@pytest.mark.skipif(bool(find_spec("aiconfigurator_core")), reason="it is installed")
def test_without_the_package_it_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="not installed") as caught:
        vendor_step(tmp_path, sku_facts("H100"), 1)
    assert "pip install boute[aiconfigurator]" in caught.value.hint


@pytest.fixture
def model(tmp_path: Path) -> Path:
    config = llama(architectures=["LlamaForCausalLM"], max_position_embeddings=131072)
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return tmp_path


@installed
def test_each_gpu_and_rank_has_its_own_numbers(model: Path) -> None:
    """A used backend object would return the first one's."""
    steps = {
        (sku, tp): vendor_step(model, sku_facts(sku), tp)
        for sku in ("H100", "A100")
        for tp in (1, 2)
    }
    assert steps["H100", 1].fixed_s < 0.7 * steps["A100", 1].fixed_s
    assert steps["H100", 2].fixed_s < 0.8 * steps["H100", 1].fixed_s
    assert steps["H100", 1].per_prefill_token_s < 0.7 * steps["A100", 1].per_prefill_token_s


@installed
def test_a_gpu_it_does_not_know_is_refused(model: Path) -> None:
    with pytest.raises(InvalidInput, match="no vLLM data for MI300X"):
        vendor_step(model, sku_facts("MI300X"), 1)


@installed
def test_a_model_it_does_not_know_is_refused(tmp_path: Path) -> None:
    config = llama(architectures=["NobodyForCausalLM"])
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InvalidInput, match="cannot predict"):
        vendor_step(tmp_path, sku_facts("H100"), 1)
