"""Reads a stored classifier, whichever kind it is."""

from collections.abc import Callable

from core.routing import band_classifier, classifier
from core.routing.band_classifier import BandClassifier
from core.routing.classifier import Classifier, QueryClassifier
from core.routing.stored import Content, damaged, unpacked


def read_classifier(content: bytes) -> QueryClassifier:
    """Return the classifier that was stored, compiled and ready: no query has to wait for that.

    Raises:
        InvalidInput: It is something else, damaged, or of an older version.
    """
    stored = unpacked(content)
    readers: dict[str, Callable[[Content], QueryClassifier]] = {
        classifier.KIND: Classifier.from_content,
        band_classifier.KIND: BandClassifier.from_content,
    }
    try:
        read = readers[stored.kind](stored)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise damaged() from error
    read.classify("")
    return read
