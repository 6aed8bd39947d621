"""The classifier whose classes are bands of what is predicted of a query."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.routing.bands import Bands
from core.routing.classifier import Classified
from core.routing.features import Sighting, look
from core.routing.kernels import classify_band
from core.routing.novelty import Novelty
from core.routing.predictor import Predictor
from core.routing.stored import Content, packed

KIND = "bands"


class BandClassifier:
    """Predicts how well each model will answer, and says in which band that lies.

    Args:
        predictor: Predicts every model's score.
        bands: Makes classes of predictions.
        novelty: Tells what is unlike training.
    """

    def __init__(self, predictor: Predictor, bands: Bands, novelty: Novelty) -> None:
        self._predictor = predictor
        self._bands = bands
        self._novelty = novelty
        self._names = bands.names
        self._tables = (predictor.tables, bands.tables, novelty.tables)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the bands."""
        return self._names

    @property
    def models(self) -> tuple[str, ...]:
        """Models whose scores are predicted."""
        return self._predictor.models

    def classify(self, text: str, earlier: Sequence[str] = ()) -> Classified:
        """Return the band of a query; it is computed, not guessed, so its probability is 1."""
        seen = look(text, earlier)
        position, is_new = classify_band(seen.facts, seen.codes, len(text), *self._tables)
        return Classified(self._names[position], 1.0, is_new)

    def scores(self, seen: Sighting) -> NDArray[np.float64]:
        """Return the expected score of each of `models`, 0..1."""
        return self._predictor.scores(seen)

    def to_bytes(self) -> bytes:
        """Return it in the safetensors format."""
        bands = self._bands
        facts = {"models": self.models, "weak": bands.weak, "strong": bands.strong}
        edges = {"gain_edges": bands.gain_edges, "length_edges": bands.length_edges}
        return packed(KIND, facts, self._predictor.tensors() | self._novelty.tensors() | edges)

    @staticmethod
    def from_content(content: Content) -> "BandClassifier":
        """Put together what `to_bytes` took apart.

        Raises:
            KeyError, ValueError, TypeError: It is damaged.
            InvalidInput: Its parts do not fit each other.
        """
        facts, parts = content.facts, content.parts
        models = [str(name) for name in facts["models"]]
        novelty = Novelty.from_tensors(parts)
        if novelty is None:
            raise KeyError("novelty")
        weak, strong = (range(len(models)).index(facts[end]) for end in ("weak", "strong"))
        bands = Bands(weak, strong, parts["gain_edges"], parts["length_edges"])
        return BandClassifier(Predictor.from_tensors(models, parts), bands, novelty)
