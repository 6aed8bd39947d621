"""Search for plans: decoder, seeds, local search, Bayesian optimisation; only home of torch."""

from core.domain.study import KindTelemetry, Measurement
from core.optimize.conclusion import StudyResult, optimise
from core.optimize.local_search import Effort
from core.optimize.study import Proposal, Study

__all__ = [
    "Effort",
    "KindTelemetry",
    "Measurement",
    "Proposal",
    "Study",
    "StudyResult",
    "optimise",
]
