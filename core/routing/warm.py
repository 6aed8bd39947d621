"""Compiles classification before the first query needs it; from numba's cache that is quick."""

import numpy as np

from core.routing.bands import Bands
from core.routing.classifier import Classifier
from core.routing.features import DENSE, GRAMS, SIZE, look
from core.routing.first_guess import FirstGuess, Scaling
from core.routing.kernels import classify_band
from core.routing.novelty import NOTHING_IS_NEW
from core.routing.predictor import Predictor, Trees


def warm() -> None:
    """Have both kinds of classifier compiled; takes seconds once per installation."""
    weights, bias = np.zeros((1, SIZE), dtype=np.float32), np.zeros(1, dtype=np.float32)
    Classifier(["any"], weights, bias).classify("Is it warm?")
    seen, bands = look("Is it warm?"), Bands(0, 0, np.zeros(0), np.zeros(0))
    tables = (_blank().tables, bands.tables, NOTHING_IS_NEW.tables)
    classify_band(seen.facts, seen.codes, 11, *tables)


def _blank() -> Predictor:
    """A predictor that knows nothing."""
    nothing = np.zeros(0, dtype=np.int32)
    single = np.zeros(1, dtype=np.float32)
    return Predictor(
        models=("any",),
        scaling=Scaling(
            np.zeros(DENSE, dtype=np.float32),
            np.ones(DENSE, dtype=np.float32),
            np.zeros(GRAMS, dtype=np.float32),
        ),
        first=FirstGuess(
            np.zeros((1, DENSE), dtype=np.float32), np.zeros((GRAMS, 1), dtype=np.float32), single
        ),
        trees=Trees(nothing, nothing, nothing, np.zeros(0), nothing, nothing, np.zeros(0)),
        calibration=np.array([[1.0, 0.0]]),
    )
