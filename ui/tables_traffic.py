"""Frames of traces and workloads for tables and charts. Pure functions."""

import numpy as np
import pandas as pd

from core.domain.trace import Trace
from core.domain.workload import Workload

EXAMPLE_REQUESTS = 2000
"""Drawn to show what a description amounts to."""
MOST_POINTS = 2000
BINS = 60
SHORTEST_S = 1e-3
"""Shown of a trace whose requests arrive at once."""


def classes_frame(workload: Workload) -> pd.DataFrame:
    """Return one row per query class of a workload; an unknown deviation is empty."""
    return pd.DataFrame(
        {
            "query_class": t.query_class,
            "rate_rps": t.rate_rps,
            "share": workload.weight(t.query_class),
            "input_tokens": t.input_tokens_mean,
            "input_std": t.input_tokens_std or None,
            "output_tokens": t.output_tokens_mean,
            "output_std": t.output_tokens_std or None,
            "correlation": t.length_correlation
            if t.input_tokens_std and t.output_tokens_std
            else None,
        }
        for t in workload.classes
    )


def arrivals_frame(trace: Trace) -> pd.DataFrame:
    """Return arrivals per second over time, one row per class and 60th of the trace.

    Columns: `query_class`, `start_s` (of the bin), `bin_s`, `rate_rps`.
    """
    times = np.asarray(trace.arrived_at_s, dtype=np.float64)
    classes = np.asarray(trace.query_class, dtype=np.int64)
    bin_s = max(float(times[-1]), SHORTEST_S) / BINS
    bins = np.minimum((times / bin_s).astype(np.int64), BINS - 1)
    frames = [
        pd.DataFrame(
            {
                "query_class": name,
                "start_s": np.arange(BINS) * bin_s,
                "bin_s": bin_s,
                "rate_rps": np.bincount(bins[classes == k], minlength=BINS) / bin_s,
            }
        )
        for k, name in enumerate(trace.classes)
    ]
    return pd.concat(frames, ignore_index=True)


def lengths_frame(trace: Trace) -> pd.DataFrame:
    """Return class, prompt and answer length of at most 2,000 requests, evenly chosen.

    The class is categorical, in the trace's order, so that figures give it the same colour.
    """
    chosen = np.unique(np.linspace(0, len(trace) - 1, MOST_POINTS).astype(np.int64))
    classes = np.asarray(trace.query_class, dtype=np.int64)[chosen]
    return pd.DataFrame(
        {
            "query_class": pd.Categorical.from_codes(classes, pd.Index(trace.classes)),
            "input_tokens": np.asarray(trace.input_tokens, dtype=np.int64)[chosen],
            "output_tokens": np.asarray(trace.output_tokens, dtype=np.int64)[chosen],
        }
    )
