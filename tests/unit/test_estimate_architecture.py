"""Shapes read off config.json, against published parameter counts."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.errors import BOuteError, InvalidInput
from core.estimate.architecture import ModelShape, parse_shape


def llama(**changes: Any) -> dict[str, Any]:
    """Llama-3.1-8B's config.json, as far as it matters."""
    return {
        "model_type": "llama",
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "vocab_size": 128256,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    } | changes


LLAMA_2_70B = llama(
    hidden_size=8192,
    num_hidden_layers=80,
    num_attention_heads=64,
    intermediate_size=28672,
    vocab_size=32000,
)
MIXTRAL = llama(model_type="mixtral", vocab_size=32000, num_local_experts=8, num_experts_per_tok=2)
QWEN3_30B_A3B = llama(
    model_type="qwen3_moe",
    hidden_size=2048,
    num_hidden_layers=48,
    num_key_value_heads=4,
    head_dim=128,
    intermediate_size=6144,
    moe_intermediate_size=768,
    vocab_size=151936,
    num_experts=128,
    num_experts_per_tok=8,
    decoder_sparse_step=1,
    mlp_only_layers=[],
)
BLOOM = {
    "model_type": "bloom",
    "n_layer": 70,
    "num_attention_heads": 112,
    "hidden_size": 14336,
    "vocab_size": 250880,
}
OPT = {
    "model_type": "opt",
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "hidden_size": 4096,
    "ffn_dim": 16384,
    "vocab_size": 50272,
    "max_position_embeddings": 2048,
}
DEEPSEEK_V3 = {
    "model_type": "deepseek_v3",
    "hidden_size": 7168,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "moe_intermediate_size": 2048,
    "intermediate_size": 18432,
    "n_routed_experts": 256,
    "num_experts_per_tok": 8,
    "n_shared_experts": 1,
    "first_k_dense_replace": 3,
    "vocab_size": 129280,
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
}


@pytest.mark.parametrize(
    ("config", "total", "active"),
    [
        (llama(), 8.03e9, 8.03e9),
        (LLAMA_2_70B, 68.98e9, 68.98e9),
        (MIXTRAL, 46.7e9, 12.9e9),
        (QWEN3_30B_A3B, 30.5e9, 3.35e9),
        (BLOOM, 176.25e9, 176.25e9),
        (OPT, 6.66e9, 6.66e9),
        (DEEPSEEK_V3, 671e9, 37.5e9),
    ],
)
def test_parameters_are_the_published_ones(
    config: dict[str, Any], total: float, active: float
) -> None:
    shape = parse_shape(config)
    assert shape.parameters == pytest.approx(total, rel=0.002)
    assert shape.active_parameters == pytest.approx(active, rel=0.01)


@pytest.mark.parametrize(
    ("config", "bytes_per_token"),
    [
        (llama(), 131072),
        (LLAMA_2_70B, 327680),
        (BLOOM, 2 * 70 * 14336 * 2),
        (DEEPSEEK_V3, 61 * 576 * 2),
    ],
)
def test_cache_per_token(config: dict[str, Any], bytes_per_token: int) -> None:
    assert parse_shape(config).kv_bytes_per_token == bytes_per_token


@pytest.mark.parametrize(
    ("quantization", "gigabytes", "fp8"),
    [
        (None, 16.06, False),
        ({"quant_method": "fp8"}, 9.1, True),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, 5.7, False),
        ({"quant_method": "gptq", "bits": 8}, 9.1, False),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, 5.7, False),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}}},
            },
            9.1,
            True,
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int"}}},
            },
            5.7,
            False,
        ),
    ],
)
def test_quantised_weights(quantization: object, gigabytes: float, fp8: bool) -> None:
    shape = parse_shape(llama(quantization_config=quantization))
    assert shape.weight_bytes == pytest.approx(gigabytes * 1e9, rel=0.01)
    assert shape.fp8_compute is fp8


def test_an_fp8_cache_is_half() -> None:
    quantization = {"quant_method": "fp8", "kv_cache_scheme": {"num_bits": 8}}
    shape = parse_shape(llama(quantization_config=quantization))
    assert shape.kv_bytes_per_token == 65536


def test_a_multimodal_model_is_its_text_part() -> None:
    nested = {"model_type": "llava", "text_config": llama(), "vision_config": {"hidden_size": 1}}
    assert parse_shape(nested) == parse_shape(llama())


def test_every_second_layer_has_experts() -> None:
    shape = parse_shape(QWEN3_30B_A3B | {"decoder_sparse_step": 2})
    assert (shape.dense_layers, shape.moe_layers) == (24, 24)


@pytest.mark.parametrize("missing", ["hidden_size", "num_hidden_layers", "vocab_size"])
def test_what_is_missing_is_named(missing: str) -> None:
    config = llama()
    del config[missing]
    with pytest.raises(InvalidInput, match=missing):
        parse_shape(config)


KEYS = sorted(set(DEEPSEEK_V3) | set(QWEN3_30B_A3B) | set(BLOOM) | {"text_config", "head_dim"})
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), ANYTHING), st.sampled_from([llama(), DEEPSEEK_V3]))
@example({"kv_lora_rank": 1}, llama())
@example({"kv_lora_rank": -1000}, DEEPSEEK_V3)
def test_any_json_is_read_or_refused(changes: dict[str, Any], base: dict[str, Any]) -> None:
    try:
        shape = parse_shape(base | changes)
    except BOuteError:
        return
    assert isinstance(shape, ModelShape)
    assert shape.parameters >= shape.active_parameters > 0
    assert shape.weight_bytes > 0
    assert shape.kv_bytes_per_token > 0
