"""Counters and timings for Prometheus, one registry per gateway."""

from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from core.domain.traffic import RequestRecord
from core.serving.gateway.errors import ApiError

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
BY = ("model", "query_class")


@dataclass(frozen=True, slots=True)
class _Children:
    """The series of one outcome; finding them by their labels takes longer than adding."""

    requests: Counter
    input_tokens: Counter
    output_tokens: Counter
    e2e_s: Histogram
    ttft_s: Histogram


class Metrics:
    """What the gateway tells Prometheus.

    Labels hold only names from the active plan: nothing a caller sends, and no tenant, because
    everybody who reaches the gateway may read it.
    """

    def __init__(self) -> None:
        self._registry = here = CollectorRegistry()
        self._requests = Counter(
            _name("requests"), "Requests by outcome.", (*BY, "status"), registry=here
        )
        self._tokens = Counter(
            _name("tokens"), "Tokens as engines counted them.", (*BY, "direction"), registry=here
        )
        self._cascades = Counter(
            _name("cascades"),
            "First calls of cascades: accepted, escalated, or failed and escalated.",
            (*BY, "outcome"),
            registry=here,
        )
        self._refused = Counter(
            _name("refused"), "Requests the gateway itself refused.", ("code",), registry=here
        )
        self._e2e_s = Histogram(
            _name("e2e_seconds"), "To the last byte.", BY, buckets=SECONDS, registry=here
        )
        self._ttft_s = Histogram(
            _name("ttft_seconds"), "To the first byte.", BY, buckets=SECONDS, registry=here
        )
        self.in_flight = Gauge(_name("in_flight"), "Requests in progress.", registry=here)
        self._known: dict[tuple[str, str, int], _Children] = {}

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """Tell a value that somebody else keeps."""
        gauge = Gauge(_name(name), about, registry=self._registry)
        gauge.set_function(value)

    def count(self, record: RequestRecord) -> None:
        """Add one finished request."""
        key = (record.model, record.query_class, record.status)
        children = self._known.get(key)
        if children is None:
            children = self._known[key] = self._children(*key)
        children.requests.inc()
        if record.first_model or record.confidence is not None:
            self._count_cascade(record)
        if record.input_tokens:
            children.input_tokens.inc(record.input_tokens)
        if record.output_tokens:
            children.output_tokens.inc(record.output_tokens)
        if record.status < 400:
            children.e2e_s.observe(record.e2e_ms / 1000)
            children.ttft_s.observe((record.ttft_ms or record.e2e_ms) / 1000)

    def _count_cascade(self, record: RequestRecord) -> None:
        labels = (record.first_model or record.model, record.query_class)
        outcome = "accepted"
        if record.first_model:
            outcome = "failed" if record.confidence is None else "escalated"
            self._tokens.labels(*labels, "input").inc(record.first_input_tokens or 0)
            self._tokens.labels(*labels, "output").inc(record.first_output_tokens or 0)
        self._cascades.labels(*labels, outcome).inc()

    def _children(self, model: str, query_class: str, status: int) -> "_Children":
        labels = (model, query_class)
        return _Children(
            self._requests.labels(*labels, str(status)),
            self._tokens.labels(*labels, "input"),
            self._tokens.labels(*labels, "output"),
            self._e2e_s.labels(*labels),
            self._ttft_s.labels(*labels),
        )

    def refused(self, error: ApiError) -> None:
        """Add one request that ended with an error of the gateway's own."""
        self._refused.labels(error.code or str(error.status)).inc()

    def text(self) -> bytes:
        """Return the Prometheus text format."""
        return generate_latest(self._registry)


def _name(name: str) -> str:
    return f"boute_gateway_{name}"
