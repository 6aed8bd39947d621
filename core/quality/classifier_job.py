"""The job that trains the query classifier from every outcome in the database."""

from typing import Any

from core.domain.ids import utc_now
from core.domain.job import Job
from core.ports import JobContext
from core.routing.classifier import train

SEED = 0


class ClassifierJob:
    """Body of `JobKind.CLASSIFIER`; no parameters."""

    def steps(self, job: Job) -> list[str]:
        """One step: training takes seconds."""
        return ["train"]

    def run(self, step: str, context: JobContext) -> dict[str, Any]:
        """Train, store, and return what is known of the new classifier.

        Raises:
            NotReady: There are no outcomes of at least two query classes yet.
        """
        context.progress(0.1, "Reading outcomes")
        with context.uow() as work:
            outcomes = work.outcomes.all()
        texts, classes = [o.query for o in outcomes], [o.query_class for o in outcomes]
        context.progress(0.3, f"Training on {len(set(texts))} queries")
        classifier, facts = train(texts, classes, SEED)
        with context.uow() as work:
            version = work.classifiers.add(classifier.to_bytes(), facts, utc_now())
            work.commit()
        return {"version": version, **facts}
