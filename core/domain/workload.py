"""Traffic: query classes, their rates and lengths."""

from dataclasses import dataclass
from datetime import datetime

from core.domain.profile import Provenance
from core.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class ClassTraffic:
    """Traffic of one query class.

    Attributes:
        query_class: Name of the class.
        rate_rps: Mean arrivals per second.
        input_tokens_mean: Mean prompt length in tokens.
        output_tokens_mean: Mean answer length in tokens.
        input_tokens_std: Standard deviation of the prompt length; 0 when unknown.
        output_tokens_std: Standard deviation of the answer length; 0 when unknown.
        length_correlation: Correlation of the logarithms of both lengths, -1..1.
    """

    query_class: str
    rate_rps: float
    input_tokens_mean: float
    output_tokens_mean: float
    input_tokens_std: float = 0.0
    output_tokens_std: float = 0.0
    length_correlation: float = 0.0


@dataclass(frozen=True, slots=True)
class Workload:
    """A traffic description to plan for.

    Attributes:
        classes: Traffic per query class.
        burstiness: Coefficient of variation of the gaps between arrivals; 1 is Poisson.
        trace_requests: Requests in the trace that is stored with it; 0 without a trace.
        trace_span_s: Length of that trace in seconds.
        source: Where it comes from, in words ("trace.csv"); may be empty.

    Raises:
        InvalidInput: It has no requests, a negative rate or an unusable length.
    """

    workload_id: str
    name: str
    classes: tuple[ClassTraffic, ...]
    provenance: Provenance
    created_at: datetime
    burstiness: float = 1.0
    trace_requests: int = 0
    trace_span_s: float = 0.0
    source: str = ""

    def __post_init__(self) -> None:
        if self.rate_rps <= 0:
            raise InvalidInput(
                f"The workload {self.name!r} has no requests.",
                "Give at least one query class an arrival rate above zero.",
            )
        for traffic in self.classes:
            if traffic.rate_rps < 0 or traffic.output_tokens_mean < 1:
                raise InvalidInput(
                    f"Class {traffic.query_class!r} of {self.name!r} has a negative rate "
                    "or answers shorter than one token.",
                    "Rates are requests per second; lengths are tokens.",
                )

    @property
    def rate_rps(self) -> float:
        """Arrivals per second over all classes."""
        return sum(traffic.rate_rps for traffic in self.classes)

    def weight(self, query_class: str) -> float:
        """Share of the traffic that belongs to a class."""
        of_class = sum(t.rate_rps for t in self.classes if t.query_class == query_class)
        return of_class / self.rate_rps
