"""`boute export`: plans in the languages of other systems."""

from pathlib import Path

from core.domain.plan import ServingPlan
from core.entrypoints.waiting import say
from core.errors import Conflict, EnvironmentFailed, NotFound
from core.ports import UnitOfWork
from core.serving.kubernetes import ClusterOptions, as_yaml, manifests
from core.settings import Settings
from db.unit_of_work import uow_factory

ACTIVE = "active"


def export_kubernetes(
    settings: Settings, plan_id: str, options: ClusterOptions, output: Path | None
) -> int:
    """Write the manifests of a plan.

    Args:
        plan_id: As the dashboard shows it, or its beginning; `active` for what is served.
        output: File to make; None prints them.

    Raises:
        NotFound: There is no such plan.
        InvalidInput: A model cannot be served in a cluster.
        Conflict: The file is there already, or several plans begin so.
    """
    with uow_factory(settings.database_url)() as work:
        plan = _plan(work, plan_id)
        models = {model.name: model for model in work.models.all()}
    text = as_yaml(manifests(plan, models, options))
    if output is None:
        print(text, end="")
        return 0
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise Conflict(f"{output} is there already.", "Choose another name.") from error
    except OSError as error:
        raise EnvironmentFailed(
            f"{output} cannot be written: {error.strerror}.", "Choose another folder."
        ) from error
    say(f"Wrote {output} for plan {plan.plan_id}")
    return 0


def _plan(work: UnitOfWork, plan_id: str) -> ServingPlan:
    """Find a plan among what was deployed and what studies found."""
    if plan_id == ACTIVE:
        active = work.deployments.active()
        if active is None:
            raise NotFound("No plan is active.", "Deploy one, or name a plan.")
        return active.plan
    plans = [deployment.plan for deployment in work.deployments.all()]
    for study in work.studies.all():
        plans += [trial.plan for trial in work.studies.trials(study.study_id)]
    found = {plan.plan_id: plan for plan in plans if plan_id and plan.plan_id.startswith(plan_id)}
    if not found:
        raise NotFound(
            f"There is no plan {plan_id!r}.",
            "The Optimise and Deploy pages show the ids of plans.",
        )
    if len(found) > 1:
        raise Conflict(f"Several plans begin with {plan_id!r}.", f"One of: {', '.join(found)}.")
    return next(iter(found.values()))
