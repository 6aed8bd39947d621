"""Types of the search's compiled code; see `core.estimate.compiling`."""

import numpy as np
from numpy.typing import NDArray

from core.estimate.compiling import compiled

__all__ = ["Flags", "Integers", "compiled"]

Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
