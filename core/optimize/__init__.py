"""Search for plans: decoder, seeds, local search, Bayesian optimisation; only home of torch."""

from core.optimize.study import StudyResult, optimise

__all__ = ["StudyResult", "optimise"]
