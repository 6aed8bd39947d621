"""One click from an empty database to a Pareto front, on the built-in fleet and models."""

from datetime import datetime
from pathlib import Path

from core.demo.arithmetic import QUERY_CLASSES, questions
from core.domain.fleet import Device, Price
from core.domain.ids import new_id
from core.domain.job import JobKind
from core.domain.quality import Query, QuerySet
from core.errors import Conflict, NotReady
from core.ports import UnitOfWork, UnitOfWorkFactory
from core.services.catalog import register_model
from core.services.jobs import enqueue
from core.services.profiles import request_profile
from core.services.quality import request_classifier, request_quality, save_query_set

WEIGHTS = Path(__file__).resolve().parent / "weights"
MODELS = ("small", "large")
QUERY_SET = "arithmetic"
QUERIES_PER_CLASS = 200
SCORED_PER_CLASS = 60
MEASURING_SEED = 20_251
MAX_ANSWER_TOKENS = 80
MAX_MODEL_LEN = 256
MAX_NUM_SEQS = 1
"""One answer at a time: with more, vLLM's API process, which shares the few cores, limits both
models alike and hides what tells them apart (two cores, measured: from 1 to 4 in flight the small
model gained 10 %, the large one doubled)."""
CONCURRENCIES = (1, 2, 4)
CPU_CORE_USD_PER_HOUR = 0.04
"""About what a cloud asks for one virtual core with 8 GiB; the Inventory page changes it."""

MIX = {"easy": 0.70, "medium": 0.20, "hard": 0.10}
LOAD = 1.9
"""Traffic as a multiple of what one replica of the large model sustains."""
QUALITY_FLOOR = 0.85


def arithmetic_query_set() -> QuerySet:
    """Return the built-in query set: held-out questions, classes interleaved."""
    by_class = [questions(c, QUERIES_PER_CLASS, MEASURING_SEED) for c in QUERY_CLASSES]
    queries = tuple(
        Query(text=q.text, query_class=q.query_class, reference=q.answer)
        for together in zip(*by_class, strict=True)
        for q in together
    )
    return QuerySet(QUERY_SET, "numeric", MAX_ANSWER_TOKENS, queries)


def start_built_in_fleet(uow: UnitOfWorkFactory, now: datetime) -> str:
    """Register the built-in models and enqueue everything up to the first Pareto front.

    Returns:
        The id of the group that all the jobs belong to.

    Raises:
        NotReady: The controller has not reported any device yet.
        Conflict: Jobs are under way already.
    """
    with uow() as work:
        sku = _usual_sku(work.devices.all())
        if work.jobs.active():
            raise Conflict("Jobs are under way already.", "Wait for them, or cancel them.")
        _give_a_price(work, sku, now)
        work.commit()
    for model in MODELS:
        register_model(
            uow,
            model,
            str(WEIGHTS / model),
            now,
            max_model_len=MAX_MODEL_LEN,
            max_num_seqs=MAX_NUM_SEQS,
        )
    save_query_set(uow, arithmetic_query_set())
    return _enqueue_all(uow, sku, now)


def _enqueue_all(uow: UnitOfWorkFactory, sku: str, now: datetime) -> str:
    group = new_id()
    for model in MODELS:
        # Profile and quality of one model side by side: the second takes over the replica.
        request_profile(
            uow,
            model,
            sku,
            now,
            query_set=QUERY_SET,
            concurrencies=CONCURRENCIES,
            group_id=group,
        )
        request_quality(
            uow,
            model,
            sku,
            now,
            query_set=QUERY_SET,
            per_class=SCORED_PER_CLASS,
            group_id=group,
        )
    request_classifier(uow, now, group)
    params = {
        "name": "Arithmetic questions",
        "mix": MIX,
        "load": LOAD,
        "model": MODELS[-1],
        "quality_floor": QUALITY_FLOOR,
    }
    enqueue(uow, JobKind.CHARACTERISE, "Characterise the traffic", params, now, group)
    return group


def _usual_sku(devices: list[Device]) -> str:
    usable = [d.sku for d in devices if d.schedulable]
    if not usable:
        raise NotReady(
            "The controller has not reported any usable device yet.",
            "It does so within seconds of its start: is it running (`boute up`)?",
        )
    return max(sorted(set(usable)), key=usable.count)


def _give_a_price(work: UnitOfWork, sku: str, now: datetime) -> None:
    if not any(price.sku == sku for price in work.prices.all()):
        work.prices.add(Price(sku, CPU_CORE_USD_PER_HOUR, now))
