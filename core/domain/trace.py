"""Traces: single requests, in order of arrival."""

from array import array
from dataclasses import dataclass

from core.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Trace:
    """n requests as four columns of plain machine numbers (numpy reads them without a copy).

    Attributes:
        arrived_at_s: n doubles ("d"); seconds from the start of the trace, never falling.
        input_tokens: n integers ("q"); prompt lengths, at least 1.
        output_tokens: n integers ("q"); answer lengths, at least 1.
        query_class: n integers ("q"); positions in `classes`.
        classes: Names of the query classes.

    Raises:
        InvalidInput: The columns differ in length, or there is no request.
    """

    arrived_at_s: "array[float]"
    input_tokens: "array[int]"
    output_tokens: "array[int]"
    query_class: "array[int]"
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        lengths = {len(c) for c in (self.input_tokens, self.output_tokens, self.query_class)}
        if lengths != {len(self.arrived_at_s)} or not len(self.arrived_at_s):
            raise InvalidInput(
                "A trace needs one arrival time, two lengths and a class per request.",
                "At least one request is needed.",
            )

    def __len__(self) -> int:
        return len(self.arrived_at_s)

    @property
    def span_s(self) -> float:
        """From the first to the last arrival, in seconds."""
        return self.arrived_at_s[-1] - self.arrived_at_s[0]
