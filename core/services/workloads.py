"""Use cases of workloads: describe traffic, or take it from what the gateway saw."""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime

from core.domain.ids import new_id
from core.domain.profile import Provenance
from core.domain.traffic import RequestRecord
from core.domain.workload import ClassTraffic, Workload
from core.errors import InvalidInput, NotReady
from core.ports import UnitOfWork, UnitOfWorkFactory


def describe(
    uow: UnitOfWorkFactory, name: str, rates_rps: Mapping[str, float], now: datetime
) -> Workload:
    """Store traffic given as requests per second per class; lengths come from measured answers.

    Raises:
        InvalidInput: No class has a rate above zero, or one is negative.
        NotReady: Nothing was measured yet, so lengths are unknown.
    """
    with uow() as work:
        classes = tuple(
            ClassTraffic(query_class, rate, _input_tokens(work), _output_tokens(work, query_class))
            for query_class, rate in sorted(rates_rps.items())
        )
        workload = Workload(new_id(), name, classes, Provenance.IMPORTED, now)
        work.workloads.save(workload)
        work.commit()
    return workload


def from_gateway(
    uow: UnitOfWorkFactory, name: str, start: datetime, end: datetime, now: datetime
) -> Workload:
    """Store the traffic that the gateway really saw in a time window.

    Raises:
        InvalidInput: The window is empty or holds no classified requests.
    """
    if end <= start:
        raise InvalidInput("The window ends before it starts.", "Choose a later end.")
    with uow() as work:
        records = [r for r in work.requests.between(start, end) if r.query_class]
        workload = Workload(
            new_id(),
            name,
            _observed(records, (end - start).total_seconds()),
            Provenance.MEASURED,
            now,
        )
        work.workloads.save(workload)
        work.commit()
    return workload


def workloads(uow: UnitOfWorkFactory) -> list[Workload]:
    """Return every workload, newest first."""
    with uow() as work:
        return work.workloads.all()


def _observed(records: list[RequestRecord], window_s: float) -> tuple[ClassTraffic, ...]:
    by_class: dict[str, list[RequestRecord]] = defaultdict(list)
    for record in records:
        by_class[record.query_class].append(record)
    return tuple(
        ClassTraffic(
            query_class,
            len(seen) / window_s,
            _mean([r.input_tokens for r in seen]),
            max(1.0, _mean([r.output_tokens for r in seen])),
        )
        for query_class, seen in sorted(by_class.items())
    )


def _mean(values: list[int | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else 1.0


def _input_tokens(work: UnitOfWork) -> float:
    levels = [level for profile in work.profiles.latest() for level in profile.levels]
    if not levels:
        raise NotReady(
            "Prompt lengths are unknown: no model was profiled yet.",
            "Profile a model on Models & profiling first.",
        )
    return sum(level.input_tokens_mean for level in levels) / len(levels)


def _output_tokens(work: UnitOfWork, query_class: str) -> float:
    known = [e for e in work.outcomes.estimates() if e.query_class == query_class and e.n]
    if not known:
        raise NotReady(
            f"Answer lengths of class {query_class!r} are unknown.",
            "Score a model on a query set that has this class, on Workload & quality.",
        )
    return sum(e.output_tokens_mean for e in known) / len(known)
