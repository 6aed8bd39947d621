"""Discrete-event simulation of replicas that batch continuously, behind the gateway's dispatch."""

from core.estimate.simulator.run import simulate
from core.estimate.simulator.spec import Arrivals, EngineSpec, Timeline

__all__ = ["Arrivals", "EngineSpec", "Timeline", "simulate"]
