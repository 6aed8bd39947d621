"""How good a plan is, computed from measurements: latency, cost, quality. No torch here."""

from core.estimate.analytic import AnalyticEvaluator
from core.estimate.validity import validate

__all__ = ["AnalyticEvaluator", "validate"]
