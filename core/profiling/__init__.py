"""Measuring real replicas: load, client, statistics, fits."""
