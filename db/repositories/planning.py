"""Studies, trials, deployments."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from core.domain.deployment import Deployment, DeploymentState
from core.domain.study import Study, Trial
from db.mapping import Mapper
from db.models import DeploymentRow, StudyRow, TrialRow
from db.repositories.base import Table, values_of

STUDIES = Mapper(Study, StudyRow, "limits", "reference", "infeasibility", "comparisons")
TRIALS = Mapper(Trial, TrialRow, "plan", "predicted", "measured", "telemetry")
DEPLOYMENTS = Mapper(Deployment, DeploymentRow, "plan", "predicted", "guard")
WANTED = values_of([DeploymentState.ROLLING, DeploymentState.ACTIVE])
ENDED = (DeploymentState.SUPERSEDED, DeploymentState.FAILED, DeploymentState.STOPPED)


class SqlStudies:
    """`StudyRepository` in SQL."""

    def __init__(self, session: Session) -> None:
        self._studies = Table(session, STUDIES)
        self._trials = Table(session, TRIALS)

    def save(self, study: Study) -> None:
        """Insert or replace."""
        self._studies.upsert([study])

    def get(self, study_id: str) -> Study | None:
        """Return one study."""
        return self._studies.one(self._studies.query().where(StudyRow.study_id == study_id))

    def all(self) -> list[Study]:
        """Return every study, newest first."""
        order = (StudyRow.created_at.desc(), StudyRow.study_id)
        return self._studies.many(self._studies.query().order_by(*order))

    def save_trials(self, trials: Sequence[Trial]) -> None:
        """Insert or replace by (study, number)."""
        self._trials.upsert(trials)

    def trials(self, study_id: str) -> list[Trial]:
        """Return the trials of a study by number."""
        of_study = self._trials.query().where(TrialRow.study_id == study_id)
        return self._trials.many(of_study.order_by(TrialRow.number))


class SqlDeployments:
    """`DeploymentRepository` in SQL."""

    def __init__(self, session: Session) -> None:
        self._table = Table(session, DEPLOYMENTS)
        self._newest = (DeploymentRow.created_at.desc(), DeploymentRow.deployment_id)

    def add(self, deployment: Deployment) -> None:
        """Append a deployment."""
        self._table.insert([deployment])

    def get(self, deployment_id: str) -> Deployment | None:
        """Return one deployment."""
        return self._table.one(
            self._table.query().where(DeploymentRow.deployment_id == deployment_id)
        )

    def all(self) -> list[Deployment]:
        """Return every deployment, newest first."""
        return self._table.many(self._table.query().order_by(*self._newest))

    def current(self) -> Deployment | None:
        """Return the newest that is rolling or active."""
        wanted = self._table.query().where(DeploymentRow.state.in_(WANTED))
        return self._table.one(wanted.order_by(*self._newest))

    def active(self) -> Deployment | None:
        """Return the newest active one."""
        active = DeploymentRow.state == DeploymentState.ACTIVE.value
        return self._table.one(self._table.query().where(active).order_by(*self._newest))

    def transition(
        self,
        deployment_id: str,
        from_states: Sequence[DeploymentState],
        to: DeploymentState,
        at: datetime,
        message: str = "",
    ) -> bool:
        """Change state by one conditional update."""
        changes: dict[str, object] = {"state": to, "message": message}
        if to is DeploymentState.ACTIVE:
            changes["active_at"] = at
        if to in ENDED:
            changes["ended_at"] = at
        where = [
            DeploymentRow.deployment_id == deployment_id,
            DeploymentRow.state.in_(values_of(from_states)),
        ]
        return self._table.change(where, changes)
