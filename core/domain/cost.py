"""Allocation cost: device-seconds times the price in force. Pure arithmetic.

Formula, for a replica that holds d devices of a SKU from a to b:

    cost = d * integral from a to b of price_usd_per_hour(t) dt / 3600 s

The price is a step function, so the integral is a sum over the pieces between price changes;
pieces are cut at midnight UTC too, which gives the cost per day.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from itertools import pairwise

from core.domain.deployment import SERVING, Deployment, Replica
from core.domain.fleet import Price, price_in_force

SECONDS_PER_HOUR = 3600.0


class Purpose(StrEnum):
    """What devices were held for: answering traffic, or a job that measured."""

    SERVING = "serving"
    MEASURING = "measuring"


@dataclass(frozen=True, slots=True)
class Occupation:
    """Devices of one SKU held for one model from `start` to `end` (UTC)."""

    model: str
    sku: str
    devices: int
    purpose: Purpose
    start: datetime
    end: datetime

    @property
    def device_seconds(self) -> float:
        """Length of the interval times the devices."""
        return self.devices * (self.end - self.start).total_seconds()


@dataclass(frozen=True, slots=True)
class Charge:
    """A piece of an occupation within one UTC day and under one price.

    Attributes:
        cost_usd: None when no price was in force.
    """

    day: str
    model: str
    sku: str
    purpose: Purpose
    device_seconds: float
    cost_usd: float | None


def occupations(replicas: Iterable[Replica], now: datetime) -> list[Occupation]:
    """Return what each replica held so far, from its start to its stop or to `now`."""
    spans = ((replica, _end(replica, now)) for replica in replicas)
    return [
        Occupation(
            model=replica.kind.model,
            sku=replica.kind.sku,
            devices=replica.kind.devices,
            purpose=Purpose.SERVING if replica.owner == SERVING else Purpose.MEASURING,
            start=replica.started_at,
            end=end,
        )
        for replica, end in spans
        if replica.started_at is not None and replica.started_at < end
    ]


def charges(held: Iterable[Occupation], prices: Sequence[Price]) -> list[Charge]:
    """Price every occupation, cut at price changes and at midnight UTC; nothing is left out."""
    return [_charge(piece, prices) for whole in held for piece in _pieces(whole, prices)]


def clip(held: Iterable[Occupation], start: datetime, end: datetime) -> list[Occupation]:
    """Return the parts of occupations inside [start, end)."""
    cut = (replace(o, start=max(o.start, start), end=min(o.end, end)) for o in held)
    return [o for o in cut if o.start < o.end]


def serving_spans(
    deployments: Iterable[Deployment], now: datetime
) -> list[tuple[Deployment, datetime, datetime]]:
    """Return when each deployment served, oldest first, without overlap."""
    served = [(d.active_at, d) for d in deployments if d.active_at is not None]
    served.sort(key=lambda entry: entry[0])
    next_starts = [at for at, _ in served[1:]] + [now]
    spans = [
        (deployment, start, min(deployment.ended_at or now, next_start, now))
        for (start, deployment), next_start in zip(served, next_starts, strict=False)
    ]
    return [span for span in spans if span[1] < span[2]]


def usd_per_million(cost_usd: float, tokens: int) -> float | None:
    """Cost per million tokens; None without tokens, or without the cost of what made them."""
    return 1e6 * cost_usd / tokens if tokens and cost_usd else None


def _end(replica: Replica, now: datetime) -> datetime:
    """When its devices were given back, or now; a lost end counts as the last known moment."""
    if replica.stopped_at is not None:
        return min(replica.stopped_at, now)
    known = now if replica.live else replica.ready_at or replica.started_at or now
    return min(known, now)


def _pieces(whole: Occupation, prices: Sequence[Price]) -> list[Occupation]:
    changes = {p.valid_from for p in prices if p.sku == whole.sku}
    inside = {at for at in changes if whole.start < at < whole.end}
    cuts = sorted({whole.start, whole.end} | inside | _midnights(whole.start, whole.end))
    return [replace(whole, start=start, end=end) for start, end in pairwise(cuts)]


def _midnights(start: datetime, end: datetime) -> set[datetime]:
    """Midnights UTC strictly between two moments."""
    first = datetime.combine(start.astimezone(UTC).date(), time(), UTC) + timedelta(days=1)
    days = max(0, -((first - end) // timedelta(days=1)))
    return {first + timedelta(days=n) for n in range(days)}


def _charge(piece: Occupation, prices: Sequence[Price]) -> Charge:
    price = price_in_force(list(prices), piece.sku, piece.start)
    hours = piece.device_seconds / SECONDS_PER_HOUR
    return Charge(
        day=piece.start.astimezone(UTC).date().isoformat(),
        model=piece.model,
        sku=piece.sku,
        purpose=piece.purpose,
        device_seconds=piece.device_seconds,
        cost_usd=None if price is None else hours * price.usd_per_hour,
    )
