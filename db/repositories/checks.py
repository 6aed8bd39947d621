"""Judged answers and checks of live traffic."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete
from sqlalchemy.orm import Session

from core.domain.check import Judgement, LiveCheck
from db.mapping import Mapper
from db.models import JudgementRow, LiveCheckRow
from db.repositories.base import Table

JUDGEMENTS = Mapper(Judgement, JudgementRow)
LIVE_CHECKS = Mapper(LiveCheck, LiveCheckRow)


class SqlChecks:
    """`CheckRepository` in SQL."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._judgements = Table(session, JUDGEMENTS)
        self._live = Table(session, LIVE_CHECKS)

    def add_judgements(self, judgements: Sequence[Judgement]) -> None:
        """Append judgements."""
        self._judgements.insert(judgements)

    def judgements(self, job_id: str) -> list[Judgement]:
        """Return the judgements of one job, oldest first."""
        of_job = self._judgements.query().where(JudgementRow.job_id == job_id)
        return self._judgements.many(of_job.order_by(JudgementRow.judgement_id))

    def add_live(self, checks: Sequence[LiveCheck]) -> None:
        """Append checks of live traffic."""
        self._live.insert(checks)

    def live(self, since: datetime) -> list[LiveCheck]:
        """Return the checks of live traffic from a moment on, oldest first."""
        recent = self._live.query().where(LiveCheckRow.at >= since)
        return self._live.many(recent.order_by(LiveCheckRow.check_id))

    def prune_live(self, before: datetime) -> int:
        """Remove checks of live traffic before a moment; returns how many."""
        old = delete(LiveCheckRow).where(LiveCheckRow.at < before)
        return len(self._session.scalars(old.returning(LiveCheckRow.check_id)).all())
