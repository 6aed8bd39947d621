"""Use cases of profiles: ask for a measurement and what it costs, read what is known."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from core.domain.catalog import ModelSpec
from core.domain.cost import SECONDS_PER_HOUR, charges, clip, occupations
from core.domain.deployment import job_owner
from core.domain.fleet import price_in_force
from core.domain.job import Job, JobKind
from core.domain.profile import Profile, Provenance
from core.errors import InvalidInput, NotFound
from core.ports import UnitOfWork, UnitOfWorkFactory
from core.services.catalog import require_model_that_fits
from core.services.jobs import new_job

MAX_CONCURRENCY = 4096
SECONDS_PER_LEVEL = 8.0
MAX_SECONDS = 180.0
LONGEST_S = 24 * 3600.0
USUAL_STARTUP_S = 60.0
"""Assumed until a replica of the model, or of its device type, was started once."""
FIT_S = 10.0
"""Assumed for fitting the step-time model; the replica is held meanwhile."""
PER_LEVEL = 1.35
"""Seconds a level takes per counted second, with its warm-up and its last answers."""
PROBES_S = 10.0
LEVELS_BESIDE_CLIMB = 3
"""One inside the gap about the knee, two of Poisson arrivals."""


@dataclass(frozen=True, slots=True)
class ProfileCost:
    """What a profile is expected to take, before it is started.

    Attributes:
        devices: Devices held.
        startup_s: Assumed from process start to ready.
        startup_seen: Whether that was seen when the model, or the device type, was last profiled.
        levels: Loads expected, probes left out.
        expected_s: Expected length, start-up and fit included.
        most_s: What it can take at most if the start takes as long as assumed.
        cut_short: Whether the bound is expected to end it before all levels.
        usd_per_hour: Price in force of one device; None when there is none.
    """

    devices: int
    startup_s: float
    startup_seen: bool
    levels: int
    expected_s: float
    most_s: float
    cut_short: bool
    usd_per_hour: float | None

    @property
    def expected_usd(self) -> float | None:
        """Device-seconds expected times the price; None without a price."""
        return self._usd(self.expected_s)

    @property
    def most_usd(self) -> float | None:
        """The same for the longest it can take."""
        return self._usd(self.most_s)

    def _usd(self, seconds: float) -> float | None:
        if self.usd_per_hour is None:
            return None
        return self.devices * seconds / SECONDS_PER_HOUR * self.usd_per_hour


@dataclass(frozen=True, slots=True)
class Residual:
    """One measured answer and what the fitted model says to it.

    Attributes:
        load: Load of the profile it was part of, such as `closed:4`.
        measured_e2e_s: Sending to last token.
        predicted_e2e_s: The same, simulated; NaN when the replica could never hold it.
    """

    load: str
    input_tokens: int
    output_tokens: int
    measured_e2e_s: float
    predicted_e2e_s: float


def request_profile(
    uow: UnitOfWorkFactory,
    model: str,
    sku: str,
    now: datetime,
    *,
    query_set: str,
    tp: int = 1,
    concurrencies: Sequence[int] | None = None,
    seconds_per_level: float = SECONDS_PER_LEVEL,
    max_seconds: float | None = None,
    latency_budget_s: float | None = None,
    group_id: str | None = None,
) -> Job:
    """Enqueue a profile of a model on a device type.

    Args:
        concurrencies: Requests in flight per load level; None to climb until throughput no
            longer grows, look closer at the knee and add Poisson arrivals.
        seconds_per_level: Usual length of a level's counted window; one whose confidence
            interval is narrow ends earlier, one with hardly any answers lasts longer.
        max_seconds: Seconds of load after which nothing further is measured; None for as many as
            chosen levels may need, and at least `MAX_SECONDS`.
        latency_budget_s: P95 end-to-end time beyond which the climb ends; None for no limit.

    Raises:
        InvalidInput: The model does not fit, or a level is not a usable number.
        NotFound: No such model, device type or query set.
    """
    levels = _usable_levels(concurrencies)
    if max_seconds is None:
        needed_s = 2 * _load_s(len(levels or ()), seconds_per_level)
        max_seconds = min(LONGEST_S, max(MAX_SECONDS, needed_s))
    _require_durations(seconds_per_level, max_seconds, latency_budget_s)
    with uow() as work:
        require_model_that_fits(work, model, sku, tp)
        if query_set not in work.query_sets.names():
            raise NotFound(
                f"There is no query set {query_set!r}.", "Upload one on Workload & quality."
            )
        params = {
            "model": model,
            "sku": sku,
            "tp": tp,
            "query_set": query_set,
            "concurrencies": levels,
            "seconds_per_level": seconds_per_level,
            "max_seconds": max_seconds,
            "latency_budget_s": latency_budget_s,
        }
        title = f"Profile {model} on {tp} x {sku}"
        job = new_job(JobKind.PROFILE, title, params, now, group_id)
        work.jobs.add(job)
        work.commit()
    return job


def profile_cost_estimate(
    uow: UnitOfWorkFactory,
    model: str,
    sku: str,
    now: datetime,
    *,
    tp: int = 1,
    concurrencies: Sequence[int] | None = None,
    seconds_per_level: float = SECONDS_PER_LEVEL,
    max_seconds: float = MAX_SECONDS,
) -> ProfileCost:
    """Return what `request_profile` with these values is expected to cost.

    Raises:
        NotFound: There is no such model.
    """
    with uow() as work:
        spec = work.models.get(model)
        if spec is None:
            raise NotFound(f"There is no model {model!r}.", "Register it on Models & profiling.")
        seen_s = _seen_startup_s(work.profiles.all(), model, sku, tp)
        price = price_in_force(work.prices.all(), sku, now)
    startup_s = USUAL_STARTUP_S if seen_s is None else seen_s
    levels = len(set(concurrencies)) if concurrencies else _usual_levels(spec)
    load_s = _load_s(levels, seconds_per_level)
    return ProfileCost(
        devices=tp,
        startup_s=startup_s,
        startup_seen=seen_s is not None,
        levels=levels,
        expected_s=startup_s + min(max_seconds, load_s) + FIT_S,
        most_s=startup_s + max_seconds + FIT_S,
        cut_short=load_s > max_seconds,
        usd_per_hour=None if price is None else price.usd_per_hour,
    )


def job_cost_usd(uow: UnitOfWorkFactory, job: Job, now: datetime) -> float | None:
    """Return what the devices that a job holds have cost since it began; None without a price.

    Args:
        job: A running job; a replica it took over is paid from its own start on.
    """
    with uow() as work:
        return _cost_usd(work, job, now)


def profiles(uow: UnitOfWorkFactory) -> list[Profile]:
    """Return every profile, newest first."""
    with uow() as work:
        return work.profiles.all()


def latest_profiles(uow: UnitOfWorkFactory) -> list[Profile]:
    """Return the newest profile per (model, SKU, TP, PP)."""
    with uow() as work:
        return work.profiles.latest()


def residuals(uow: UnitOfWorkFactory, profile: Profile) -> list[Residual]:
    """Return what the fitted model of a profile says to each answer that was measured.

    Loads are simulated with the times at which their requests were really sent. Empty without a
    fitted model, or without its answers, as of imported profiles.
    """
    # Compiled code: only who asks for this loads it.
    from core.estimate.replay import replay
    from core.estimate.simulator import EngineSpec

    if profile.step is None or profile.engine_limits is None:
        return []
    with uow() as work:
        seen = work.profiles.observations(profile.profile_id)
    found = []
    replica = EngineSpec(0, 1, profile.step, profile.engine_limits)
    for load in sorted(seen, key=_by_kind_and_size):
        answers = seen[load]
        predicted = replay(answers, [replica])
        columns = (answers.input_tokens, answers.output_tokens, answers.e2e_s, predicted.e2e_s)
        for prompt, answer, measured_s, predicted_s in zip(*columns, strict=True):
            found.append(Residual(load, prompt, answer, measured_s, float(predicted_s)))
    return found


def _by_kind_and_size(load: str) -> tuple[str, float, str]:
    """Sort `closed:4` before `closed:16`."""
    kind, _, value = load.partition(":")
    return kind, float(value) if value.replace(".", "").isdigit() else 0.0, value


def _usable_levels(concurrencies: Sequence[int] | None) -> list[int] | None:
    if concurrencies is None:
        return None
    levels = sorted(set(concurrencies))
    if not levels or levels[0] < 1 or levels[-1] > MAX_CONCURRENCY:
        raise InvalidInput(
            f"Load levels must be whole numbers from 1 to {MAX_CONCURRENCY}, of some seconds.",
            "1, 4 and 16 requests in flight for 8 seconds each are a good start.",
        )
    return levels


def _require_durations(
    seconds_per_level: float, max_seconds: float, latency_budget_s: float | None
) -> None:
    spans = [seconds_per_level, max_seconds, 1.0 if latency_budget_s is None else latency_budget_s]
    if not all(0 < span <= LONGEST_S for span in spans):
        raise InvalidInput(
            "Lengths of levels, of the profile and the latency limit must be above zero seconds.",
            f"Levels of {SECONDS_PER_LEVEL:g} s within {MAX_SECONDS:g} s are a good start.",
        )


def _load_s(levels: int, seconds_per_level: float) -> float:
    """Seconds of load that so many levels and the probes are expected to take."""
    return levels * PER_LEVEL * seconds_per_level + PROBES_S


def _usual_levels(model: ModelSpec) -> int:
    """The climb to the model's batch limit, and what follows it."""
    return 1 + math.ceil(math.log2(max(2, model.max_num_seqs))) + LEVELS_BESIDE_CLIMB


def _seen_startup_s(known: Sequence[Profile], model: str, sku: str, tp: int) -> float | None:
    """Newest start-up of the same replica kind, else of any model on that device type."""
    measured = [
        p
        for p in known
        if p.provenance is Provenance.MEASURED and p.sku == sku and p.startup_s > 0
    ]
    same = [p for p in measured if (p.model, p.tp) == (model, tp)]
    return next((p.startup_s for p in same or measured), None)


def _cost_usd(work: UnitOfWork, job: Job, now: datetime) -> float | None:
    held = occupations(work.replicas.by_owner(job_owner(job.job_id)), now)
    began = job.started_at or job.created_at
    costs = [c.cost_usd for c in charges(clip(held, began, now), work.prices.all())]
    if any(cost is None for cost in costs):
        return None
    return sum(cost for cost in costs if cost is not None)
