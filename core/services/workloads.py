"""Use cases of workloads: import traffic, describe it, or take it from what the gateway saw."""

import math
from array import array
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from core.domain.ids import new_id
from core.domain.profile import Provenance
from core.domain.trace import Trace
from core.domain.traffic import RequestRecord
from core.domain.workload import ClassTraffic, Workload
from core.errors import InvalidInput, NotFound, NotReady
from core.estimate import traffic
from core.importing.traces import parse_trace
from core.ports import UnitOfWork, UnitOfWorkFactory

MOST_RECORDS = 200_000
"""Of the gateway, in one workload; more would take the memory of a small host."""
MOST_BURSTINESS = 100.0
MOST_TOKENS = 10_000_000


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of one query class, in tokens; a mean of None is taken from measured answers.

    Raises:
        InvalidInput: A mean is below one token, or a deviation negative.
    """

    input_tokens_mean: float | None = None
    output_tokens_mean: float | None = None
    input_tokens_std: float = 0.0
    output_tokens_std: float = 0.0

    def __post_init__(self) -> None:
        means = [m for m in (self.input_tokens_mean, self.output_tokens_mean) if m is not None]
        deviations = (self.input_tokens_std, self.output_tokens_std)
        if not all(1 <= mean <= MOST_TOKENS for mean in means) or not all(
            0 <= deviation <= MOST_TOKENS for deviation in deviations
        ):
            raise InvalidInput(
                "Lengths are at least one token on average, and their deviation is not negative.",
                "Leave a length empty to use what was measured.",
            )


def describe(
    uow: UnitOfWorkFactory,
    name: str,
    rates_rps: Mapping[str, float],
    now: datetime,
    *,
    burstiness: float = 1.0,
    lengths: Mapping[str, Lengths] | None = None,
) -> Workload:
    """Store traffic given as requests per second per class.

    Args:
        burstiness: Coefficient of variation of the gaps between arrivals; 1 is Poisson.
        lengths: Per class; means that it leaves out come from measured answers.

    Raises:
        InvalidInput: No class has a rate above zero, one is negative, or the burstiness is.
        NotReady: A length is neither given nor measured.
    """
    if not 0 <= burstiness <= MOST_BURSTINESS or not all(map(math.isfinite, rates_rps.values())):
        raise InvalidInput(
            "The burstiness or a rate is out of range.",
            f"Burstiness is 0 (even) to {MOST_BURSTINESS:g}; 1 is random. Rates are finite.",
        )
    given = lengths or {}
    with uow() as work:
        classes = tuple(
            _described(work, query_class, rate, given.get(query_class, Lengths()))
            for query_class, rate in sorted(rates_rps.items())
        )
        workload = Workload(
            new_id(), name, classes, Provenance.IMPORTED, now, burstiness=burstiness
        )
        return _stored(work, workload, None)


def import_trace(
    uow: UnitOfWorkFactory,
    name: str,
    content: bytes,
    file_name: str,
    now: datetime,
    *,
    default_class: str = "all",
    time_unit: str | None = None,
    classify: Callable[[str], str] | None = None,
) -> Workload:
    """Store the trace in a file, and the workload that it amounts to.

    The workload's `source` says what was left out of the file and how its times were understood.

    Args:
        content: CSV, JSON lines or Parquet; see `core.importing.traces.parse_trace`, also for
            the other arguments.

    Raises:
        InvalidInput: The file or one of its rows cannot be used; names the row.
    """
    imported = parse_trace(
        content, file_name, default_class=default_class, time_unit=time_unit, classify=classify
    )
    source = " ".join([f"{file_name}.", *imported.notes])
    workload = traffic.summarised(imported.trace, name, new_id(), now, source=source)
    with uow() as work:
        return _stored(work, workload, imported.trace)


def from_gateway(
    uow: UnitOfWorkFactory, name: str, start: datetime, end: datetime, now: datetime
) -> Workload:
    """Store the traffic that the gateway really saw in a time window, request by request.

    Classified requests count. Those without token counts (they failed, or their stream was cut)
    belong to the rates, but not to the trace and the lengths; `source` says how many they are.

    Raises:
        InvalidInput: The window is empty, too large, or holds no classified requests.
    """
    if end <= start:
        raise InvalidInput("The window ends before it starts.", "Choose a later end.")
    with uow() as work:
        seen = work.requests.between(start, end, MOST_RECORDS + 1)
        if len(seen) > MOST_RECORDS:
            raise InvalidInput(
                f"The window holds more than {MOST_RECORDS:,} requests.", "Choose a shorter one."
            )
        records = [r for r in seen if r.query_class]
        counted = [r for r in records if r.input_tokens and r.output_tokens]
        trace = _trace_of(counted)
        arrived_at_s = np.array([r.at.timestamp() for r in records])
        workload = Workload(
            new_id(),
            name,
            _observed(records, (end - start).total_seconds()),
            Provenance.MEASURED,
            now,
            burstiness=traffic.burstiness(arrived_at_s),
            trace_requests=len(trace) if trace else 0,
            trace_span_s=trace.span_s if trace else 0.0,
            source=_seen_in_words(len(records), len(records) - len(counted)),
        )
        return _stored(work, workload, trace)


def scaled_copy(
    uow: UnitOfWorkFactory, workload_id: str, factor: float, name: str, now: datetime
) -> Workload:
    """Store a copy of a workload with every arrival rate multiplied, its trace included.

    The copy is imported, not measured: nobody saw that traffic.

    Raises:
        InvalidInput: The factor is not above zero.
        NotFound: There is no such workload.
    """
    traffic.require_factor(factor)
    with uow() as work:
        original, trace = _known(work, workload_id)
        copy = replace(
            original,
            workload_id=new_id(),
            name=name,
            classes=tuple(replace(c, rate_rps=c.rate_rps * factor) for c in original.classes),
            provenance=Provenance.IMPORTED,
            created_at=now,
            trace_span_s=original.trace_span_s / factor,
            source=f"{original.name} at {factor:g} times its rate.",
        )
        return _stored(work, copy, traffic.scaled(trace, factor) if trace else None)


def windowed_copy(
    uow: UnitOfWorkFactory,
    workload_id: str,
    start_s: float,
    end_s: float,
    name: str,
    now: datetime,
) -> Workload:
    """Store a part of a workload's trace as a workload: start <= arrival < end, in seconds.

    Raises:
        InvalidInput: No request arrives then, or all of them at once.
        NotFound: There is no such workload.
        NotReady: It has no trace.
    """
    with uow() as work:
        original, trace = _known(work, workload_id)
        if trace is None:
            raise NotReady(
                f"{original.name!r} has no trace to take a part of.",
                "Import one, or take the traffic from the gateway.",
            )
        inside = traffic.window(trace, start_s, end_s)
        traffic.period_s(inside)  # refuses what could not be replayed
        copy = traffic.summarised(
            inside,
            name,
            new_id(),
            now,
            provenance=original.provenance,
            source=f"{original.name}, seconds {start_s:g} to {end_s:g}.",
            window_s=min(end_s, traffic.period_s(trace)) - max(start_s, 0.0),
        )
        return _stored(work, copy, inside)


def workloads(uow: UnitOfWorkFactory) -> list[Workload]:
    """Return every workload, newest first."""
    with uow() as work:
        return work.workloads.all()


def workload_trace(uow: UnitOfWorkFactory, workload_id: str) -> Trace | None:
    """Return the trace of a workload; None when it was described without one."""
    with uow() as work:
        return work.workloads.trace(workload_id)


def _stored(work: UnitOfWork, workload: Workload, trace: Trace | None) -> Workload:
    work.workloads.save(workload)
    if trace is not None:
        work.workloads.save_trace(workload.workload_id, trace)
    work.commit()
    return workload


def _known(work: UnitOfWork, workload_id: str) -> tuple[Workload, Trace | None]:
    found = work.workloads.get(workload_id)
    if found is None:
        raise NotFound("There is no such workload.", "Choose one on Workload & quality.")
    return found, work.workloads.trace(workload_id)


def _described(
    work: UnitOfWork, query_class: str, rate_rps: float, lengths: Lengths
) -> ClassTraffic:
    prompt, answer = lengths.input_tokens_mean, lengths.output_tokens_mean
    return ClassTraffic(
        query_class,
        rate_rps,
        input_tokens_mean=_input_tokens(work) if prompt is None else prompt,
        output_tokens_mean=_output_tokens(work, query_class) if answer is None else answer,
        input_tokens_std=lengths.input_tokens_std,
        output_tokens_std=lengths.output_tokens_std,
    )


def _trace_of(records: Sequence[RequestRecord]) -> Trace | None:
    """Return counted records as a trace; None when there are too few to tell a rate."""
    if not records or records[0].at == records[-1].at:
        return None
    names = sorted({r.query_class for r in records})
    return Trace(
        array("d", [(r.at - records[0].at).total_seconds() for r in records]),
        array("q", [r.input_tokens or 0 for r in records]),
        array("q", [r.output_tokens or 0 for r in records]),
        array("q", [names.index(r.query_class) for r in records]),
        tuple(names),
    )


def _observed(records: Sequence[RequestRecord], window_s: float) -> tuple[ClassTraffic, ...]:
    by_class: dict[str, list[RequestRecord]] = defaultdict(list)
    for record in records:
        by_class[record.query_class].append(record)
    return tuple(
        _class_seen(query_class, seen, len(seen) / window_s)
        for query_class, seen in sorted(by_class.items())
    )


def _class_seen(query_class: str, seen: Sequence[RequestRecord], rate_rps: float) -> ClassTraffic:
    counted = [r for r in seen if r.input_tokens and r.output_tokens]
    if not counted:
        return ClassTraffic(
            query_class,
            rate_rps,
            _mean([r.input_tokens for r in seen]),
            max(1.0, _mean([r.output_tokens for r in seen])),
        )
    return traffic.class_traffic(
        query_class,
        rate_rps,
        np.array([r.input_tokens for r in counted], dtype=np.int64),
        np.array([r.output_tokens for r in counted], dtype=np.int64),
    )


def _seen_in_words(requests: int, uncounted: int) -> str:
    text = f"{requests:,} requests at the gateway."
    if uncounted:
        text += f" Left out of the trace: {uncounted:,} without token counts."
    return text


def _mean(values: Sequence[int | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else 1.0


def _input_tokens(work: UnitOfWork) -> float:
    levels = [level for profile in work.profiles.latest() for level in profile.levels]
    if not levels:
        raise NotReady(
            "Prompt lengths are unknown: no model was profiled yet.",
            "Profile a model on Models & profiling first, or give the lengths.",
        )
    return sum(level.input_tokens_mean for level in levels) / len(levels)


def _output_tokens(work: UnitOfWork, query_class: str) -> float:
    known = [
        e
        for e in work.outcomes.estimates()
        if e.query_class == query_class and e.output_tokens_mean > 0
    ]
    if not known:
        raise NotReady(
            f"Answer lengths of class {query_class!r} are unknown.",
            "Score a model on a query set that has this class, on Workload & quality, or give "
            "the lengths.",
        )
    return sum(e.output_tokens_mean for e in known) / len(known)
