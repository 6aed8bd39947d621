"""The bill: what was spent, on what, per token, and against running all on the best model."""

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import fsum

from core.domain.cost import (
    SECONDS_PER_HOUR,
    Charge,
    Occupation,
    Purpose,
    charges,
    clip,
    occupations,
    serving_spans,
    usd_per_million,
)
from core.domain.deployment import Deployment
from core.domain.fleet import Price
from core.ports import RequestTotals, UnitOfWorkFactory


@dataclass(frozen=True, slots=True)
class CostRow:
    """What one model cost on one UTC day for one purpose.

    Attributes:
        day: UTC day, ISO format.
        device_seconds: Devices times seconds held, priced or not.
        unpriced_device_seconds: Of these, the part for which no price was in force.
        cost_usd: Allocation cost of the priced part.
        requests: Answered requests; only serving rows have any.
        input_tokens: Prompt tokens of these.
        output_tokens: Answer tokens of these.
    """

    day: str
    model: str
    purpose: Purpose
    device_seconds: float = 0.0
    unpriced_device_seconds: float = 0.0
    cost_usd: float = 0.0
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over rows.

    Attributes:
        usd_per_million_tokens: Allocation cost of serving per million answer tokens; None
            without tokens, or when part of the serving time has no price.
    """

    device_seconds: float
    unpriced_device_seconds: float
    serving_usd: float
    measuring_usd: float
    requests: int
    input_tokens: int
    output_tokens: int
    usd_per_million_tokens: float | None

    @property
    def cost_usd(self) -> float:
        """Everything that was spent."""
        return self.serving_usd + self.measuring_usd


@dataclass(frozen=True, slots=True)
class Comparison:
    """Allocation cost of serving against a predicted counterfactual over the same hours.

    Attributes:
        hours: Hours served by deployments that have a baseline.
        hours_without: Hours served by others; in neither sum.
        actual_usd: Allocation cost of the serving replicas in those hours.
        baseline_usd: Predicted cost of running everything on the best model meanwhile.
        notes: What the baselines are, in words.
        unpriced_device_seconds: Serving time in those hours without a price.
    """

    hours: float
    hours_without: float
    actual_usd: float
    baseline_usd: float
    notes: tuple[str, ...]
    unpriced_device_seconds: float = 0.0

    @property
    def saving_usd(self) -> float | None:
        """Baseline less actual, negative when it cost more; None when a price is missing."""
        return None if self.unpriced_device_seconds else self.baseline_usd - self.actual_usd

    @property
    def saving_share(self) -> float | None:
        """Saving as a fraction of the baseline; None when unknown."""
        if self.saving_usd is None or not self.baseline_usd:
            return None
        return self.saving_usd / self.baseline_usd


@dataclass(frozen=True)
class CostReport:
    """The whole bill.

    Attributes:
        made_at: Until when it counts (UTC).
        rows: By day, model and purpose.
        total: Over everything.
        by_model: Sums per model.
        by_day: Sums per UTC day.
        unpriced_device_seconds: Device-seconds per SKU for which no price was in force.
        comparison: Against all on the best model; None when no deployment has that prediction.
    """

    made_at: datetime
    rows: tuple[CostRow, ...]
    total: Totals
    by_model: dict[str, Totals] = field(default_factory=dict)
    by_day: dict[str, Totals] = field(default_factory=dict)
    unpriced_device_seconds: dict[str, float] = field(default_factory=dict)
    comparison: Comparison | None = None

    @property
    def by_purpose(self) -> dict[Purpose, float]:
        """Dollars per purpose."""
        return {
            Purpose.SERVING: self.total.serving_usd,
            Purpose.MEASURING: self.total.measuring_usd,
        }


def cost_report(uow: UnitOfWorkFactory, now: datetime) -> CostReport:
    """Return the bill up to `now`, from replica times, price history and request records."""
    with uow() as work:
        replicas, prices = work.replicas.all(), work.prices.all()
        requests, deployments = work.requests.totals_by_day(), work.deployments.all()
    held = occupations(replicas, now)
    charged = charges(held, prices)
    rows = _rows(charged, requests)
    return CostReport(
        made_at=now,
        rows=rows,
        total=_totals(rows),
        by_model=_grouped(rows, lambda row: row.model),
        by_day=_grouped(rows, lambda row: row.day),
        unpriced_device_seconds=_unpriced(charged),
        comparison=_compare(deployments, held, prices, now),
    )


def why_not(report: CostReport) -> str | None:
    """Why there is nothing to show, with what to do about it; None when there is."""
    if not report.rows:
        return "No replica has run yet, so nothing was spent. Profile a model or deploy a plan."
    if report.unpriced_device_seconds and not report.total.cost_usd:
        skus = ", ".join(sorted(report.unpriced_device_seconds))
        return f"Replicas ran, but {skus} had no price then. Set one on the Inventory page."
    return None


def cost_csv(report: CostReport) -> str:
    """Return the rows as CSV with a header line; units are in the column names."""
    text = io.StringIO()
    columns = list(CostRow.__dataclass_fields__)
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: getattr(row, name) for name in columns} for row in report.rows)
    return text.getvalue()


def _rows(charged: Iterable[Charge], requests: Iterable[RequestTotals]) -> tuple[CostRow, ...]:
    by_key: dict[tuple[str, str, Purpose], list[Charge]] = defaultdict(list)
    for charge in charged:
        by_key[charge.day, charge.model, charge.purpose].append(charge)
    answered = {(r.day, r.model, Purpose.SERVING): r for r in requests}
    keys = sorted(by_key.keys() | answered.keys())
    return tuple(_row(key, by_key.get(key, []), answered.get(key)) for key in keys)


def _row(
    key: tuple[str, str, Purpose], charged: Sequence[Charge], answered: RequestTotals | None
) -> CostRow:
    return CostRow(
        *key,
        device_seconds=fsum(c.device_seconds for c in charged),
        unpriced_device_seconds=fsum(c.device_seconds for c in charged if c.cost_usd is None),
        cost_usd=fsum(c.cost_usd for c in charged if c.cost_usd is not None),
        requests=answered.requests if answered else 0,
        input_tokens=answered.input_tokens if answered else 0,
        output_tokens=answered.output_tokens if answered else 0,
    )


def _totals(rows: Sequence[CostRow]) -> Totals:
    serving = [row for row in rows if row.purpose is Purpose.SERVING]
    serving_usd = fsum(row.cost_usd for row in serving)
    output_tokens = sum(row.output_tokens for row in rows)
    unpriced_serving = any(row.unpriced_device_seconds for row in serving)
    return Totals(
        device_seconds=fsum(row.device_seconds for row in rows),
        unpriced_device_seconds=fsum(row.unpriced_device_seconds for row in rows),
        serving_usd=serving_usd,
        measuring_usd=fsum(r.cost_usd for r in rows if r.purpose is Purpose.MEASURING),
        requests=sum(row.requests for row in rows),
        input_tokens=sum(row.input_tokens for row in rows),
        output_tokens=output_tokens,
        usd_per_million_tokens=(
            None if unpriced_serving else usd_per_million(serving_usd, output_tokens)
        ),
    )


def _grouped(rows: Sequence[CostRow], key: Callable[[CostRow], str]) -> dict[str, Totals]:
    groups: dict[str, list[CostRow]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return {name: _totals(group) for name, group in sorted(groups.items())}


def _unpriced(charged: Iterable[Charge]) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for charge in charged:
        if charge.cost_usd is None:
            found[charge.sku] += charge.device_seconds
    return dict(found)


def _compare(
    deployments: Iterable[Deployment],
    held: Sequence[Occupation],
    prices: Sequence[Price],
    now: datetime,
) -> Comparison | None:
    serving = [o for o in held if o.purpose is Purpose.SERVING]
    baselines, actual, hours, notes = [], [], [], []
    hours_without = 0.0
    for deployment, start, end in serving_spans(deployments, now):
        span_h = (end - start).total_seconds() / SECONDS_PER_HOUR
        if deployment.baseline_usd_per_hour is None:
            hours_without += span_h
            continue
        hours.append(span_h)
        baselines.append(span_h * deployment.baseline_usd_per_hour)
        actual += charges(clip(serving, start, end), prices)
        notes.append(deployment.baseline_note)
    if not hours:
        return None
    return Comparison(
        hours=fsum(hours),
        hours_without=hours_without,
        actual_usd=fsum(c.cost_usd for c in actual if c.cost_usd is not None),
        baseline_usd=fsum(baselines),
        notes=tuple(dict.fromkeys(note for note in notes if note)),
        unpriced_device_seconds=fsum(c.device_seconds for c in actual if c.cost_usd is None),
    )
