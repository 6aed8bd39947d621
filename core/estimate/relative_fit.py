"""Least squares of relative errors with coefficients that cannot be negative, as of times."""

import numpy as np

from core.estimate.speed import Vector


def non_negative(rows: Vector, times_s: Vector) -> Vector:
    """Return n coefficients with which `rows` come closest to times (Lawson & Hanson 1974).

    Args:
        rows: m x n.
        times_s: m; above zero.
    """
    # scipy.optimize takes half a second to load, and the dashboard hardly ever fits anything.
    from scipy.optimize import nnls

    found: Vector = nnls(rows / times_s[:, None], np.ones(len(times_s)))[0]
    return found
