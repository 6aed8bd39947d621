"""A model's shape, read off its `config.json`: parameters, weights, cache."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

from core.errors import InvalidInput

FULL_BYTES = 2.0
"""vLLM serves fp16 and bf16 as they are and casts fp32 down."""
GROUP_SIZE = 128
SCALE_BYTES = 2.5
"""A group of four-bit weights shares one fp16 scale and one four-bit zero point."""


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): ranks and head sizes.

    Attributes:
        query_rank: 0 where queries are not compressed.
        kv_rank: What is cached per token and layer, beside the rotary part.
        rotary: Size of the rotary part of a head, shared by all heads in the cache.
        plain: Size of the part of a head without positions.
        value: Size of a value head.
    """

    query_rank: int
    kv_rank: int
    rotary: int
    plain: int
    value: int


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A decoder-only transformer in numbers.

    Attributes:
        layers: Transformer blocks.
        hidden: Width of the residual stream.
        heads: Query heads.
        kv_heads: Key/value heads; fewer than `heads` under grouped-query attention.
        head_dim: Size of a head.
        intermediate: Width of a dense feed-forward block.
        vocab: Size of the vocabulary.
        tied_embeddings: Whether input and output embedding are one matrix.
        gated: Three feed-forward matrices (SwiGLU) instead of two.
        biased: Whether linear layers and norms have biases.
        positions: Learned position embeddings; 0 with rotary or ALiBi ones.
        experts: Routed experts per layer; 0 in a dense model.
        experts_per_token: Experts a token visits.
        moe_intermediate: Width of an expert.
        shared_intermediate: Width of what every token visits beside its experts.
        dense_layers: Layers of a mixture-of-experts model that have no experts.
        latent: Multi-head latent attention; None for the usual kind.
        weight_bytes_per_parameter: Of the transformer blocks.
        full_bytes_per_parameter: Of embeddings and activations.
        kv_bytes_per_value: Of the key/value cache.
        fp8_compute: Whether matrices are multiplied in fp8.
    """

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    tied_embeddings: bool = False
    gated: bool = True
    biased: bool = False
    positions: int = 0
    experts: int = 0
    experts_per_token: int = 0
    moe_intermediate: int = 0
    shared_intermediate: int = 0
    dense_layers: int = 0
    latent: LatentAttention | None = None
    weight_bytes_per_parameter: float = FULL_BYTES
    full_bytes_per_parameter: float = FULL_BYTES
    kv_bytes_per_value: float = FULL_BYTES
    fp8_compute: bool = False

    @property
    def moe_layers(self) -> int:
        """Layers with experts."""
        return self.layers - self.dense_layers if self.experts else 0

    @property
    def attention_parameters(self) -> int:
        """Parameters of one layer's attention, without norms."""
        if self.latent is None:
            query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
            return 2 * self.hidden * query + 2 * self.hidden * key
        rank, of_query = self.latent, self.latent.plain + self.latent.rotary
        query = self.heads * of_query
        queries = (
            rank.query_rank * (self.hidden + query) if rank.query_rank else self.hidden * query
        )
        keys = self.hidden * (rank.kv_rank + rank.rotary)
        keys += rank.kv_rank * self.heads * (rank.plain + rank.value)
        return queries + keys + self.heads * rank.value * self.hidden

    @property
    def embedding_parameters(self) -> int:
        """Parameters of one embedding matrix."""
        return self.vocab * self.hidden

    @property
    def expert_parameters(self) -> int:
        """Parameters of one expert."""
        return self._feed_forward(self.moe_intermediate)

    @property
    def block_parameters(self) -> int:
        """Parameters of all blocks without the routed experts: read in every step."""
        dense = self.layers - self.moe_layers
        shared = self._feed_forward(self.shared_intermediate) + self.experts * self.hidden
        return (
            self.layers * (self.attention_parameters + self._small)
            + dense * self._feed_forward(self.intermediate)
            + self.moe_layers * shared
        )

    @property
    def parameters(self) -> int:
        """All parameters."""
        matrices = 1 if self.tied_embeddings else 2
        return (
            self.block_parameters
            + self.moe_layers * self.experts * self.expert_parameters
            + matrices * self.embedding_parameters
            + (self.positions + (4 if self.biased else 1)) * self.hidden
        )

    @property
    def active_parameters(self) -> int:
        """Parameters one token meets, embeddings included as they are published."""
        idle = self.experts - self.experts_per_token
        return self.parameters - self.moe_layers * idle * self.expert_parameters

    @property
    def weight_bytes(self) -> float:
        """Bytes of the weights in memory, over all devices."""
        matrices = 1 if self.tied_embeddings else 2
        embeddings = matrices * self.embedding_parameters + self.positions * self.hidden
        blocks = self.parameters - embeddings
        return (
            blocks * self.weight_bytes_per_parameter + embeddings * self.full_bytes_per_parameter
        )

    @property
    def kv_bytes_per_token(self) -> float:
        """Bytes of key/value cache per token over all layers."""
        if self.latent is not None:
            values = self.latent.kv_rank + self.latent.rotary
        else:
            values = 2 * self.kv_heads * self.head_dim
        return self.layers * values * self.kv_bytes_per_value

    def _feed_forward(self, width: int) -> int:
        biases = (width + self.hidden) if self.biased else 0
        return (3 if self.gated else 2) * self.hidden * width + biases

    @property
    def _small(self) -> int:
        """Norms, and attention biases, of one layer."""
        norms = 2 * self.hidden * (2 if self.biased else 1)
        biases = 2 * (self.heads + self.kv_heads) * self.head_dim if self.biased else 0
        return norms + biases


_NAMES: Mapping[str, tuple[str, ...]] = {
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv"),
    "intermediate": ("intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size"),
    "experts": ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"),
    "experts_per_token": ("num_experts_per_tok", "num_experts_per_token", "moe_topk"),
    "moe_intermediate": ("moe_intermediate_size", "expert_ffn_hidden_size"),
}
_PLAIN_FEED_FORWARD = {"bloom", "gptj", "gpt_neox", "opt", "falcon", "gpt2", "mpt", "phi"}
_TIED = {"bloom", "opt", "gpt2", "mpt", "falcon", "gemma", "gemma2", "gemma3_text"}
_LEARNED_POSITIONS = {"opt", "gpt2"}


def parse_shape(config: Mapping[str, Any]) -> ModelShape:
    """Return the shape that a Hugging Face `config.json` describes.

    Sliding-window and linear-attention layers are counted as full attention: an estimate for
    them is on the slow side at long contexts. Vision and audio towers are left out.

    Raises:
        InvalidInput: It is not a decoder language model this can read.
    """
    text = config.get("text_config")
    if isinstance(text, Mapping):
        config = {**config, **text}
    family = str(config.get("model_type", ""))
    try:
        shape = ModelShape(
            **_sizes(config),
            **_mixture(config),
            **_number_formats(config),
            latent=_latent(config),
            tied_embeddings=bool(config.get("tie_word_embeddings", family in _TIED)),
            gated=family not in _PLAIN_FEED_FORWARD,
            biased=family in _PLAIN_FEED_FORWARD,
            positions=_positions(config, family),
        )
    except (TypeError, ValueError, OverflowError, ZeroDivisionError, AttributeError) as error:
        raise _unreadable() from error
    _require_plausible(shape)
    return shape


def _sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    layers, hidden = _whole(config, "layers"), _whole(config, "hidden")
    heads = _whole(config, "heads")
    return {
        "layers": layers,
        "hidden": hidden,
        "heads": heads,
        "kv_heads": _kv_heads(config, heads),
        "head_dim": int(config.get("head_dim") or hidden // heads),
        "intermediate": _whole(config, "intermediate", 4 * hidden),
        "vocab": _needed(config, "vocab_size"),
    }


def _kv_heads(config: Mapping[str, Any], heads: int) -> int:
    if config.get("multi_query") and not config.get("new_decoder_architecture"):
        return 1
    return _whole(config, "kv_heads", heads)


def _mixture(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the experts; nothing for a dense model."""
    experts = _whole(config, "experts", 0)
    if experts <= 1:
        return {}
    width = _whole(config, "moe_intermediate", _whole(config, "intermediate", 0))
    shared = int(config.get("shared_expert_intermediate_size") or 0)
    shared = shared or int(config.get("n_shared_experts") or 0) * width
    return {
        "experts": experts,
        "experts_per_token": _whole(config, "experts_per_token", 2),
        "moe_intermediate": width,
        "shared_intermediate": shared,
        "dense_layers": _dense_layers(config),
    }


def _dense_layers(config: Mapping[str, Any]) -> int:
    layers = _whole(config, "layers")
    first = int(config.get("first_k_dense_replace") or 0)
    step = int(config.get("decoder_sparse_step") or 1)
    every = layers - layers // step
    return min(layers, max(first, every, len(config.get("mlp_only_layers") or ())))


def _latent(config: Mapping[str, Any]) -> LatentAttention | None:
    rank = config.get("kv_lora_rank")
    if not rank:
        return None
    return LatentAttention(
        query_rank=int(config.get("q_lora_rank") or 0),
        kv_rank=int(rank),
        rotary=_needed(config, "qk_rope_head_dim"),
        plain=_needed(config, "qk_nope_head_dim"),
        value=_needed(config, "v_head_dim"),
    )


def _positions(config: Mapping[str, Any], family: str) -> int:
    if family not in _LEARNED_POSITIONS:
        return 0
    return int(config.get("max_position_embeddings") or config.get("n_positions") or 0)


def _number_formats(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return bytes per weight and per cached value, and whether fp8 units do the work."""
    quantization = config.get("quantization_config") or config.get("compression_config") or {}
    bits, fp8 = _bits(quantization)
    kv = quantization.get("kv_cache_scheme") or quantization.get("kv_cache_quant_algo")
    return {
        "weight_bytes_per_parameter": bits / 8 + (SCALE_BYTES / GROUP_SIZE if bits < 8 else 0),
        "fp8_compute": fp8,
        "kv_bytes_per_value": 1.0 if kv else FULL_BYTES,
    }


def _bits(quantization: Mapping[str, Any]) -> tuple[int, bool]:
    """Return bits per weight and whether activations are fp8 too; 16 when not quantised."""
    method = str(quantization.get("quant_method", "")).lower()
    if method == "compressed-tensors":
        groups = quantization.get("config_groups") or {}
        weights = next((dict(g.get("weights") or {}) for g in groups.values()), {})
        bits = int(weights.get("num_bits") or 16)
        return bits, bits == 8 and weights.get("type") == "float"
    if "mxfp4" in method:
        return 4, False
    if "fp8" in method or str(quantization.get("quant_algo", "")).upper() == "FP8":
        return 8, True
    if quantization.get("load_in_4bit"):
        return 4, False
    if quantization.get("load_in_8bit"):
        return 8, False
    return int(quantization.get("bits") or quantization.get("w_bit") or 16), False


def _whole(config: Mapping[str, Any], what: str, default: int | None = None) -> int:
    for name in _NAMES[what]:
        if config.get(name) is not None:
            return int(config[name])
    return _missing(_NAMES[what][0]) if default is None else default


def _needed(config: Mapping[str, Any], name: str) -> int:
    return int(config[name]) if config.get(name) is not None else _missing(name)


def _missing(name: str) -> int:
    raise InvalidInput(
        f"config.json does not say {name}.",
        "It must be the config.json of a decoder language model.",
    )


def _require_plausible(shape: ModelShape) -> None:
    sizes = (shape.layers, shape.hidden, shape.heads, shape.kv_heads, shape.head_dim, shape.vocab)
    widths = [shape.intermediate, shape.moe_intermediate, shape.shared_intermediate]
    widths.append(shape.positions)
    if shape.latent is not None:
        widths.extend(astuple(shape.latent))
    fine = min(sizes) >= 1 and max(sizes) < 10**8 and min(widths) >= 0 and max(widths) < 10**8
    if not fine or not 0 <= shape.experts_per_token <= shape.experts < 10**5:
        raise _unreadable()
    if not 0 < shape.weight_bytes_per_parameter <= 4:
        raise _unreadable()


def _unreadable() -> InvalidInput:
    return InvalidInput(
        "config.json does not describe a decoder language model.",
        "num_hidden_layers, num_attention_heads, hidden_size and vocab_size are needed.",
    )
