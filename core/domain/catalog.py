"""The models an operator may serve."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model as it is served.

    Attributes:
        name: Name in the OpenAI API, unique.
        path: Local folder or Hugging Face id, given to vLLM as `--model`.
        weight_bytes: Size of the weights in memory.
        kv_bytes_per_token: Bytes of key/value cache per token over all layers.
        max_model_len: Longest sequence served, in tokens.
        max_num_seqs: Most sequences vLLM may batch.
        added_at: When it was registered (UTC).
        trust_remote_code: Whether vLLM may run code shipped with the model.
    """

    name: str
    path: str
    weight_bytes: int
    kv_bytes_per_token: int
    max_model_len: int
    max_num_seqs: int
    added_at: datetime
    trust_remote_code: bool = False
