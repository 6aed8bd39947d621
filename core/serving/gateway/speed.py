"""How much work a request is for a replica, and what that work costs."""

from collections.abc import Mapping
from dataclasses import dataclass

from core.domain.plan import ReplicaKind
from core.domain.profile import LoadLevel, Profile, StepTime

SECONDS_PER_HOUR = 3600.0
UNKNOWN_OUTPUT_S = 0.01
"""Of a token on a kind without a profile; only its ratio to other such kinds counts."""
UNKNOWN_SLOTS = 256
CHARS_PER_TOKEN = 4.0
FIRST_GUESS_TOKENS = 128.0
LEARNING_RATE = 0.05


@dataclass(frozen=True, slots=True)
class Speed:
    """What requests cost a replica of one kind when it is fully used.

    Attributes:
        request_s: Of the replica's time per request.
        input_s: Of the replica's time per prompt token.
        output_s: Of the replica's time per answer token.
        slots: Requests it computes at once.
        usd_per_s: Price of all its devices; None when none is in force.
    """

    request_s: float
    input_s: float
    output_s: float
    slots: int
    usd_per_s: float | None = None

    @property
    def most_in_flight(self) -> int:
        """Requests it is given at once: a few more than it computes, so that it never runs dry."""
        return self.slots + max(1, self.slots // 4)

    def work_s(self, input_tokens: float, output_tokens: float) -> float:
        """Time of the replica that a request takes."""
        return self.request_s + input_tokens * self.input_s + output_tokens * self.output_s

    def cost_usd(self, input_tokens: float, output_tokens: float) -> float | None:
        """Price of that time; None when it has none."""
        if self.usd_per_s is None:
            return None
        return self.usd_per_s * self.work_s(input_tokens, output_tokens)


def speed_of(
    kind: ReplicaKind,
    profile: Profile | None,
    slots: int | None,
    usd_per_device_hour: float | None,
) -> Speed:
    """Return the speed of a replica kind.

    The step times of the profile, spread over a full batch, say what a token takes; without them
    the best throughput of its load levels is put on the answer tokens alone. A kind without a
    profile counts as fast as it has devices.

    Args:
        slots: Batch size of the model when the profile does not say; None when unknown.
    """
    limits = profile.engine_limits if profile else None
    batch = limits.max_num_seqs if limits else slots or UNKNOWN_SLOTS
    usd_per_s = None
    if usd_per_device_hour is not None:
        usd_per_s = kind.devices * usd_per_device_hour / SECONDS_PER_HOUR
    if profile is None or not profile.levels:
        return Speed(0.0, 0.0, UNKNOWN_OUTPUT_S / kind.devices, batch, usd_per_s)
    best = max(profile.levels, key=lambda level: level.output_tokens_per_s)
    if profile.step is None:
        return Speed(0.0, 0.0, 1 / best.output_tokens_per_s, batch, usd_per_s)
    return _by_steps(profile.step, best, batch, usd_per_s)


def _by_steps(step: StepTime, level: LoadLevel, batch: int, usd_per_s: float | None) -> Speed:
    context = level.input_tokens_mean + level.output_tokens_mean / 2
    together = max(1, min(batch, level.concurrency))
    output_s = step.fixed_s / together + step.per_sequence_s + step.per_context_token_s * context
    return Speed(step.per_request_s, step.per_prefill_token_s, output_s, batch, usd_per_s)


class OutputLengths:
    """How long answers were lately, per model and class: what the next one is expected to be."""

    def __init__(self) -> None:
        self._mean: dict[tuple[str, str], float] = {}

    def expected(self, model: str, query_class: str, most: int | None) -> float:
        """Return the expected number of answer tokens, at most what the caller allows."""
        mean = self._mean.get((model, query_class), FIRST_GUESS_TOKENS)
        return mean if most is None else min(mean, most)

    def learn(self, model: str, query_class: str, output_tokens: int) -> None:
        """Take a finished answer into account."""
        before = self._mean.get((model, query_class), float(output_tokens))
        self._mean[model, query_class] = before + LEARNING_RATE * (output_tokens - before)


def fallback(speeds: Mapping[ReplicaKind, Speed], kind: ReplicaKind) -> Speed:
    """Return the speed of a kind, known or not."""
    return speeds.get(kind) or speed_of(kind, None, None, None)
