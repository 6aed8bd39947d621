"""Predictions: workload and plan in, cost, latency and quality out; numpy, never torch."""
