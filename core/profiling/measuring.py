"""One load of a profile: run, tried again when the server was not there, and summed up."""

import asyncio
import logging
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from core.domain.deployment import Replica, ReplicaState, job_owner
from core.domain.ids import new_id
from core.domain.observation import Observations
from core.domain.profile import LoadLevel
from core.errors import EngineFailed
from core.ports import JobContext
from core.profiling.client import Answer, ask, open_session
from core.profiling.levels import Load, LoadKind
from core.profiling.load import Run, Sent, closed_until, open_until, poisson_gaps_s
from core.profiling.questions import Question
from core.profiling.statistics import first_error, load_level
from core.profiling.stopping import (
    WARM_UP_SHARE,
    Counted,
    StopRule,
    counted_closed,
    counted_open,
    enough,
)

log = logging.getLogger(__name__)

ATTEMPTS = 2
ARRIVALS_SEED = 7
Ready = Callable[[], Replica]
Told = Callable[[float, str], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """What a load saw.

    Attributes:
        counted: The part of it that counts for a level.
    """

    run: Run
    counted: Counted

    @property
    def answered(self) -> bool:
        """Whether anything was answered at all."""
        return any(one.good for one in self.run.sent)

    @property
    def error(self) -> str:
        """The first failure; empty when there is none."""
        return first_error([one.answer for one in self.run.sent])

    def level(self, load: Load, memory_bytes: int) -> LoadLevel | None:
        """Return the level that a closed or open loop makes; None when too little was answered.

        A closed loop that was cut short before every slot had answered knows the quick answers
        only.
        """
        if not self.counted.settled and sum(x.good for x in self.run.sent) < load.in_flight:
            return None
        rate_rps = load.rate_rps if load.kind is LoadKind.OPEN else None
        level = load_level(
            max(1, load.in_flight),
            self.counted.window,
            memory_bytes,
            rate_rps=rate_rps,
            half_width=self.counted.half_width,
        )
        if level is None or rate_rps is None:
            return level
        in_flight = rate_rps * level.e2e_ms.mean / 1000  # on average, by Little's law
        return replace(level, concurrency=max(1, round(in_flight)))

    def observations(self) -> Observations:
        """Return the answers by time of sending, those of the warm-up included."""
        return observed(self.run.sent)


def measure(
    load: Load, questions: Sequence[Question], rule: StopRule, ready: Ready, told: Told
) -> Measured:
    """Run a load; once more when nothing was answered and the server may recover.

    Args:
        ready: Waits for the replica, a new one if need be, and returns it.
        told: Told the load's done fraction and what happens; may cancel by raising.
    """
    measured = _once(load, questions, rule, ready(), told)
    for attempt in range(1, ATTEMPTS):
        if measured.answered or not any(one.answer.transient for one in measured.run.sent):
            break
        log.warning("%s failed, attempt %d: %s", load.told, attempt, measured.error)
        told(0.0, f"{load.told}: every request failed, trying again. {measured.error}")
        measured = _once(load, questions, rule, ready(), told)
    return measured


def ready_again(context: JobContext, pause_s: float, find: Ready) -> Ready:
    """Return a `Ready` that finds another replica when the first one is dead.

    From its second call on it waits first: the controller must notice that a process died.
    """
    calls = 0

    def ready() -> Replica:
        nonlocal calls
        calls += 1
        if calls == 1:
            try:
                return find()
            except EngineFailed as error:
                log.warning("Starting another replica: %s", error)
        time.sleep(pause_s)
        _forget_dead(context)
        return find()

    return ready


def observed(sent: Sequence[Sent]) -> Observations:
    """Return answers as columns by time of sending; failed ones are left out."""
    good = sorted((one for one in sent if one.good), key=lambda one: one.sent_at_s)
    return Observations(
        array("d", [one.sent_at_s for one in good]),
        array("d", [(one.answer.ttft_ms or 0.0) / 1000 for one in good]),
        array("d", [one.answer.e2e_ms / 1000 for one in good]),
        array("q", [one.answer.input_tokens for one in good]),
        array("q", [one.answer.output_tokens for one in good]),
    )


def _forget_dead(context: JobContext) -> None:
    with context.uow() as work:
        for replica in work.replicas.by_owner(job_owner(context.job.job_id)):
            if replica.wanted and replica.state is ReplicaState.FAILED:
                work.replicas.set_wanted(replica.replica_id, False)
        work.commit()


def _once(
    load: Load, questions: Sequence[Question], rule: StopRule, replica: Replica, told: Told
) -> Measured:
    def counted(sent: Sequence[Sent], until_s: float) -> Counted:
        if load.kind is LoadKind.OPEN:
            return counted_open(sent, WARM_UP_SHARE * rule.usual_s, until_s)
        return counted_closed(sent, load.in_flight, until_s)

    def watch(elapsed_s: float, sent: Sequence[Sent]) -> bool:
        so_far = counted(sent, elapsed_s)
        fraction = so_far.duration_s / rule.usual_s if so_far.settled else 0.0
        told(min(1.0, fraction), _so_far(load, so_far))
        return enough(rule, so_far, elapsed_s)

    run = asyncio.run(_run(load, questions, rule, replica, watch))
    return Measured(run, counted(run.sent, run.stopped_at_s))


async def _run(
    load: Load,
    questions: Sequence[Question],
    rule: StopRule,
    replica: Replica,
    watch: Callable[[float, Sequence[Sent]], bool],
) -> Run:
    async with open_session() as session:

        async def ask_one(question: Question) -> Answer:
            # A salt of its own: a question that comes again must not find its prompt in the cache.
            return await ask(
                session,
                replica.base_url,
                replica.kind.model,
                question.text,
                question.max_tokens,
                exact=question.exact,
                cache_salt=new_id(),
            )

        if load.kind is LoadKind.OPEN:
            gaps_s = poisson_gaps_s(load.rate_rps, ARRIVALS_SEED)
            return await open_until(ask_one, questions, gaps_s, watch, rule.usual_s)
        return await closed_until(ask_one, questions, load.in_flight, watch, rule.usual_s)


def _so_far(load: Load, counted: Counted) -> str:
    good = sum(one.good for one in counted.sent)
    filling = "" if counted.settled else "filling up, "
    failed = f", {len(counted.sent) - good} failed" if good < len(counted.sent) else ""
    half_width = counted.half_width
    sure = "" if half_width is None else f", ± {100 * half_width:.0f} %"
    return f"{load.told}: {filling}{good} answered so far{failed}{sure}"
