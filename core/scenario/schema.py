"""The format of scenario files: a planning problem as plain values. See docs/scenarios.md."""

from collections.abc import Hashable, Iterable
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from core.domain.profile import Provenance
from core.scenario.schema_quality import CascadeEntry, QualityEntry, Threshold
from core.scenario.section import Count, Name, NotNegative, Parallel, Positive, Section, Share


class FleetEntry(Section):
    """Equal nodes with devices of one type; a node of two types is two entries."""

    sku: Name = Field(description="Device type, as in `prices_usd_per_hour` and the profiles.")
    devices_per_node: Annotated[int, Field(ge=1, le=10_000)] = Field(
        description="Devices on each node; a tensor-parallel group never leaves a node."
    )
    nodes: Annotated[int, Field(ge=0, le=10_000)] = Field(1, description="How many such nodes.")


class ModelEntry(Section):
    """A model that may answer."""

    name: Name = Field(description="Name used in every other section.")
    max_num_seqs: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None, description="Most sequences an engine batches; vLLM's own when left out."
    )
    max_model_len: Annotated[int, Field(ge=1, le=100_000_000)] | None = Field(
        None, description="Longest sequence served, tokens; checked against the traffic."
    )


class SpreadEntry(Section):
    """Mean and percentiles of a sample."""

    mean: NotNegative = Field(description="Mean.")
    p50: NotNegative = Field(description="Median.")
    p95: NotNegative = Field(description="95th percentile.")
    p99: NotNegative = Field(description="99th percentile.")


class LevelEntry(Section):
    """What one replica did under one load."""

    concurrency: Count = Field(description="Requests in flight; of an open loop their mean.")
    requests: Annotated[int, Field(ge=0, le=10**12)] = Field(description="Counted requests.")
    errors: Annotated[int, Field(ge=0, le=10**12)] = Field(0, description="Failed requests.")
    duration_s: Positive = Field(description="Length of the counted window, seconds.")
    ttft_ms: SpreadEntry = Field(description="Time to first token, milliseconds.")
    tpot_ms: SpreadEntry = Field(description="Time per token after the first, milliseconds.")
    e2e_ms: SpreadEntry = Field(description="End-to-end time, milliseconds.")
    input_tokens_mean: NotNegative = Field(description="Mean prompt length, tokens.")
    output_tokens_mean: NotNegative = Field(description="Mean answer length, tokens.")
    memory_bytes: Annotated[int, Field(ge=0, le=2**60)] = Field(
        0, description="Memory of the replica; 0 if unknown."
    )
    rate_rps: Positive | None = Field(
        None, description="Poisson arrivals per second of an open loop; a closed loop without."
    )
    half_width: NotNegative | None = Field(
        None, description="Half the 95 % interval of the level, as a fraction of its mean."
    )


class StepEntry(Section):
    """Time of an engine step, in seconds per cause."""

    fixed_s: NotNegative = Field(description="Of every step.")
    per_sequence_s: NotNegative = Field(description="Of every sequence in the step.")
    per_context_token_s: NotNegative = Field(description="Of every cached token of a decoder.")
    per_prefill_token_s: NotNegative = Field(description="Of every prompt token processed.")
    per_request_s: NotNegative = Field(0.0, description="Of every request that begins.")
    overhead_s: NotNegative = Field(0.0, description="Of every request, outside the engine.")

    @model_validator(mode="after")
    def _takes_time(self) -> Self:
        if self.fixed_s + self.per_sequence_s <= 0:
            raise ValueError("a step must take time: fixed_s or per_sequence_s above zero")
        return self


class FitEntry(Section):
    """How well the step-time model reproduces the measurement it was fitted to."""

    requests: Count = Field(description="Answers it was fitted to.")
    r_squared: Annotated[float, Field(ge=-1e6, le=1)] = Field(
        description="Explained variance of the logarithm of end-to-end times."
    )
    e2e_median_error: NotNegative = Field(description="Median relative error, end to end.")
    ttft_median_error: NotNegative = Field(description="The same of times to first token.")
    speed_variation: NotNegative = Field(
        default=0.0,
        description="Standard deviation of the logarithm of the replica's speed between loads.",
    )


class EngineLimitsEntry(Section):
    """Batch and cache limits that the engine reports."""

    max_num_seqs: Count = Field(description="Most sequences in a step.")
    max_num_batched_tokens: Count = Field(description="Most tokens in a step.")
    kv_blocks: Annotated[int, Field(ge=1, le=10**12)] = Field(
        description="Blocks of the key/value cache that requests may use."
    )
    block_size: Annotated[int, Field(ge=1, le=100_000)] = Field(
        16, description="Tokens per block."
    )


class InlineProfile(Section):
    """How fast a model runs on a device type: load levels, a step-time model, or both."""

    model: Name = Field(description="One of `models`.")
    sku: Name = Field(description="Device type.")
    tp: Parallel = Field(1, description="Tensor-parallel devices, inside one node.")
    pp: Parallel = Field(1, description="Pipeline-parallel stages.")
    provenance: Provenance = Field(
        Provenance.IMPORTED,
        description="Where the numbers come from; of several for one kind "
        "measured ones are used before imported and predicted ones.",
    )
    measured_at: datetime | None = Field(None, description="With its time zone; now if left out.")
    engine: Annotated[str, Field(max_length=200)] = Field("", description="And its version.")
    host: Annotated[str, Field(max_length=200)] = Field("", description="Measured where.")
    startup_s: NotNegative = Field(0.0, description="From process start to healthy, seconds.")
    levels: Annotated[tuple[LevelEntry, ...], Field(max_length=200)] = Field(
        (), description="Computed from `step` and `engine_limits` when left out."
    )
    step: StepEntry | None = Field(
        None, description="What the simulator computes with; fitted to the levels if left out."
    )
    fit: FitEntry | None = Field(None, description="How good `step` is.")
    engine_limits: EngineLimitsEntry | None = Field(
        None, description="vLLM's usual ones, with a cache that never binds, if left out."
    )
    relative_error: Annotated[float, Field(ge=0, le=10)] | None = Field(
        None,
        description="One standard deviation of the logarithm of predicted over true latency.",
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not any(level.requests for level in self.levels) and not (
            self.step and self.engine_limits
        ):
            raise ValueError("give levels with counted requests, or step and engine_limits")
        return self


class ProfileFile(Section):
    """Profiles in a file of one of the formats that can be imported."""

    file: Name = Field(description="Relative to the scenario file, inside its folder.")
    model: Annotated[str, Field(max_length=200)] = Field("", description="If the file lacks it.")
    sku: Annotated[str, Field(max_length=200)] = Field("", description="If the file lacks it.")
    tp: Parallel = Field(1, description="If the file lacks it.")
    pp: Parallel = Field(1, description="If the file lacks it.")


class EstimatedProfile(Section):
    """A profile estimated from a model's shape and a device's data sheet (roofline)."""

    config: Name = Field(description="The model's config.json, inside the scenario's folder.")
    model: Name = Field(description="One of `models`; its limits are used.")
    sku: Name = Field(description="Device type, known to the catalogue of data sheets.")
    tp: Parallel = Field(1, description="Tensor-parallel devices, inside one node.")
    pp: Parallel = Field(1, description="Pipeline-parallel stages.")


def _profile_kind(value: Any) -> Hashable:
    known = value if isinstance(value, dict) else getattr(value, "model_fields_set", ())
    return next((kind for kind in ("file", "config") if kind in known), "inline")


ProfileEntry = Annotated[
    Annotated[InlineProfile, Tag("inline")]
    | Annotated[ProfileFile, Tag("file")]
    | Annotated[EstimatedProfile, Tag("config")],
    Discriminator(_profile_kind),
]


class ClassEntry(Section):
    """Traffic of one query class."""

    query_class: Name = Field(description="Its name.")
    rate_rps: NotNegative = Field(description="Mean arrivals per second.")
    input_tokens_mean: Annotated[float, Field(ge=0, le=1e8)] = Field(
        description="Mean prompt length, tokens."
    )
    output_tokens_mean: Annotated[float, Field(ge=1, le=1e8)] = Field(
        description="Mean answer length, tokens."
    )
    input_tokens_std: NotNegative = Field(0.0, description="Standard deviation; 0 if unknown.")
    output_tokens_std: NotNegative = Field(0.0, description="Standard deviation; 0 if unknown.")
    length_correlation: Annotated[float, Field(ge=-1, le=1)] = Field(
        0.0, description="Of the logarithms of prompt and answer length."
    )


class TraceFile(Section):
    """Single requests in a file."""

    file: Name = Field(description="Relative to the scenario file, inside its folder.")
    default_class: Name = Field("all", description="Class of requests that have none.")


class WorkloadSection(Section):
    """The traffic: described per class, taken from a trace, or both."""

    name: Name = Field("Scenario", description="For people.")
    provenance: Provenance = Field(Provenance.IMPORTED, description="Of the numbers.")
    source: Annotated[str, Field(max_length=1000)] = Field("", description="In words.")
    burstiness: Annotated[float, Field(gt=0, le=1000)] | None = Field(
        None,
        description="Coefficient of variation of the gaps between arrivals; 1, Poisson, if left "
        "out, or the trace's.",
    )
    classes: Annotated[tuple[ClassEntry, ...], Field(max_length=1000)] = Field(
        (), description="Computed from the trace when left out."
    )
    trace: TraceFile | None = Field(None, description="What the simulator draws requests from.")

    @model_validator(mode="after")
    def _has_requests(self) -> Self:
        if not self.classes and self.trace is None:
            raise ValueError("describe classes, or name a trace")
        if self.classes and sum(entry.rate_rps for entry in self.classes) <= 0:
            raise ValueError("at least one class needs a rate_rps above zero")
        _once("classes", (entry.query_class for entry in self.classes))
        return self


class ConstraintsSection(Section):
    """What a plan must and should meet."""

    quality_floor: Share = Field(0.0, description="Hard: least lower bound of the mean quality.")
    budget_usd_per_hour: Positive | None = Field(None, description="Hard: most cost.")
    sla_p95_e2e_s: Positive | None = Field(None, description="Soft: wanted P95 latency, seconds.")
    max_utilisation: Annotated[float, Field(ge=0.05, lt=1)] = Field(
        0.9, description="Hard: most load as a fraction of capacity."
    )


def _no_constraints() -> ConstraintsSection:
    return ConstraintsSection.model_validate({})


class PlacementEntry(Section):
    """Equal replicas."""

    model: Name = Field(description="One of `models`.")
    sku: Name = Field(description="Device type.")
    tp: Parallel = Field(1, description="Tensor-parallel devices.")
    pp: Parallel = Field(1, description="Pipeline-parallel stages.")
    replicas: Annotated[int, Field(ge=1, le=100_000)] = Field(description="How many.")


class RouteEntry(Section):
    """The share of a class that a model answers, or a cascade of two."""

    query_class: Name = Field(description="One of the workload's classes.")
    model: Name = Field(description="Who answers, or who is asked first.")
    share: Annotated[float, Field(gt=0, le=1)] = Field(description="Of the class, 0..1.")
    escalate_to: Annotated[str, Field(max_length=200)] = Field(
        "", description="Who answers what the first model is unsure of; one of `cascades`."
    )
    threshold: Threshold = Field(0.0, description="Of that cascade.")


class PlanSection(Section):
    """What runs where, and who answers what."""

    placement: Annotated[tuple[PlacementEntry, ...], Field(min_length=1, max_length=10_000)] = (
        Field(description="Replicas.")
    )
    routing: Annotated[tuple[RouteEntry, ...], Field(min_length=1, max_length=10_000)] = Field(
        description="Shares; those of a class sum to 1."
    )


class Scenario(Section):
    """A planning problem for `boute plan`, and a plan for `boute simulate`."""

    version: Literal[1] = Field(description="Of this format.")
    name: Annotated[str, Field(max_length=200)] = Field("", description="For people.")
    fleet: Annotated[tuple[FleetEntry, ...], Field(min_length=1, max_length=10_000)] = Field(
        description="Devices to plan with."
    )
    prices_usd_per_hour: Annotated[
        dict[Name, Annotated[float, Field(gt=0, lt=1e6)]], Field(max_length=10_000)
    ] = Field(description="Price of one device of a type for an hour.")
    models: Annotated[tuple[ModelEntry, ...], Field(min_length=1, max_length=1000)] = Field(
        description="Models to plan with."
    )
    profiles: Annotated[tuple[ProfileEntry, ...], Field(min_length=1, max_length=10_000)] = Field(
        description="How fast which model runs on what; only these kinds can be placed."
    )
    quality: Annotated[tuple[QualityEntry, ...], Field(min_length=1, max_length=100_000)] = Field(
        description="A model needs every class of the workload to be used."
    )
    cascades: Annotated[tuple[CascadeEntry, ...], Field(max_length=100_000)] = Field(
        (), description="The cascades that a plan may have; none when left out."
    )
    workload: WorkloadSection = Field(description="Traffic to plan for.")
    constraints: ConstraintsSection = Field(default_factory=_no_constraints, description="Limits.")
    plan: PlanSection | None = Field(None, description="What `boute simulate` plays out.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _once("models", (entry.name for entry in self.models))
        _once("quality", ((entry.model, entry.query_class) for entry in self.quality))
        cascades = ((c.query_class, c.model, c.escalate_to, c.threshold) for c in self.cascades)
        _once("cascades", cascades)
        return self


def json_schema() -> dict[str, Any]:
    """Return the format as a JSON schema (draft 2020-12)."""
    schema = Scenario.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _once(where: str, keys: Iterable[object]) -> None:
    seen: set[object] = set()
    for key in keys:
        if key in seen:
            raise ValueError(f"{where}: {key} is given twice")
        seen.add(key)
