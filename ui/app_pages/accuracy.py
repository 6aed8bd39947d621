"""Accuracy: predicted beside measured, for every plan that was measured or that served traffic."""

from core.services.accuracy import why_not
from ui import components, components_accuracy, queries

pairs = queries.accuracy_pairs()
why = why_not(pairs)
if why:
    components.empty_state(
        why,
        "Deploy a plan and send it traffic, or let a study measure plans on real replicas "
        "(live evaluations); both sides then stand here.",
        "optimise",
        "Choose a plan",
    )
else:
    components_accuracy.summary(pairs)
    components_accuracy.scatter(pairs)
    components_accuracy.table(pairs)
