"""Counters and timings for Prometheus, one registry per gateway."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from core.domain.traffic import RequestRecord
from core.serving.gateway.records import RecordWriter
from core.serving.gateway.state import ViewKeeper

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
BY = ("model", "query_class")


class Metrics:
    """What the gateway tells Prometheus; labels hold only names from the active plan."""

    def __init__(self, keeper: ViewKeeper, records: RecordWriter) -> None:
        self._registry = here = CollectorRegistry()
        name = "boute_gateway_{}".format
        self._requests = Counter(
            name("requests"), "Requests by outcome.", (*BY, "status"), registry=here
        )
        self._tokens = Counter(
            name("tokens"), "Tokens as engines counted them.", (*BY, "direction"), registry=here
        )
        self._e2e_s = Histogram(
            name("e2e_seconds"), "To the last byte.", BY, buckets=SECONDS, registry=here
        )
        self._ttft_s = Histogram(
            name("ttft_seconds"), "To the first byte.", BY, buckets=SECONDS, registry=here
        )
        self.in_flight = Gauge(name("in_flight"), "Requests in progress.", registry=here)
        pending = Gauge(name("records_pending"), "Records not written yet.", registry=here)
        pending.set_function(lambda: records.pending)
        dropped = Gauge(name("records_dropped"), "Lost to a full queue.", registry=here)
        dropped.set_function(lambda: records.dropped)
        age_s = Gauge(name("view_age_seconds"), "Age of the known plan.", registry=here)
        age_s.set_function(lambda: keeper.age_s)

    def count(self, record: RequestRecord) -> None:
        """Add one finished request."""
        labels = (record.model, record.query_class)
        self._requests.labels(*labels, str(record.status)).inc()
        self._tokens.labels(*labels, "input").inc(record.input_tokens or 0)
        self._tokens.labels(*labels, "output").inc(record.output_tokens or 0)
        if record.status < 400:
            self._e2e_s.labels(*labels).observe(record.e2e_ms / 1000)
            self._ttft_s.labels(*labels).observe((record.ttft_ms or record.e2e_ms) / 1000)

    def text(self) -> bytes:
        """Return the Prometheus text format."""
        return generate_latest(self._registry)
