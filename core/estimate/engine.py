"""What the simulator is told of a replica: its profile's, or the best guess there is."""

from core.domain.plan import ReplicaKind
from core.domain.planning import PlanningFacts
from core.domain.profile import EngineLimits
from core.estimate.derived_step import derived_step
from core.estimate.simulator.spec import EngineSpec

MAX_NUM_SEQS = 256
"""vLLM's own when it is not told."""
BATCHED_TOKENS_CPU = 2048
BATCHED_TOKENS_GPU = 8192
AMPLE_BLOCKS = 10**9
"""A cache that never binds: what is assumed where its size is unknown."""
BLOCK_SIZE = 16


def engine_limits(facts: PlanningFacts, kind: ReplicaKind) -> EngineLimits:
    """Return batch and cache limits of a kind: its engine's, or the ones usual with vLLM."""
    known = facts.profiles[kind].engine_limits
    if known is not None:
        return known
    cpu = kind.sku.lower().startswith("cpu")
    return EngineLimits(
        max_num_seqs=facts.max_num_seqs.get(kind.model, MAX_NUM_SEQS),
        max_num_batched_tokens=BATCHED_TOKENS_CPU if cpu else BATCHED_TOKENS_GPU,
        kv_blocks=AMPLE_BLOCKS,
        block_size=BLOCK_SIZE,
    )


def engine_spec(facts: PlanningFacts, kind: ReplicaKind, pool: int) -> EngineSpec:
    """Return one replica of a kind as the simulator takes it.

    Args:
        pool: Number of its model among the plan's.

    Raises:
        NotReady: Its profile has neither a step-time model nor a load level.
    """
    limits, profile = engine_limits(facts, kind), facts.profiles[kind]
    step = profile.step or derived_step(profile, limits.max_num_seqs)
    return EngineSpec(pool, kind.devices, step, limits)
