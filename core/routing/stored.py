"""The file a classifier is stored in: safetensors, with its kind and facts in the header."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from core.errors import InvalidInput
from core.routing.features import FEATURE_VERSION


@dataclass(frozen=True)
class Content:
    """A classifier taken apart.

    Attributes:
        kind: Which classifier it is.
        facts: JSON values.
        parts: Arrays by name.
    """

    kind: str
    facts: Mapping[str, Any]
    parts: Mapping[str, NDArray[Any]]


def packed(kind: str, facts: Mapping[str, Any], parts: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the bytes of a classifier."""
    header = {"kind": kind, "facts": json.dumps(facts), "features": str(FEATURE_VERSION)}
    content: bytes = save(dict(parts), metadata=header)
    return content


def unpacked(content: bytes) -> Content:
    """Read what `packed` wrote.

    Raises:
        InvalidInput: It is something else, or of a version with other features.
    """
    try:
        parts = load(content)
        header = _metadata(content)
        if header["features"] != str(FEATURE_VERSION):
            raise InvalidInput(
                "The stored classifier is of an older version of BOute and reads queries "
                "differently.",
                "Train it again on Workload & quality; until then queries take the safest route.",
            )
        return Content(header["kind"], dict(json.loads(header["facts"])), parts)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise damaged() from error


def damaged() -> InvalidInput:
    """Return the error that says so."""
    return InvalidInput("The stored classifier is damaged.", "Train it again.")


def _metadata(content: bytes) -> dict[str, str]:
    """Read the header's metadata; safetensors offers that for files only, the format is plain."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    return dict(header["__metadata__"])
