"""Single answers as a load level saw them: what step-time models are fitted to."""

from array import array
from dataclasses import dataclass

from core.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Observations:
    """n answered requests of one load on one replica, as columns of plain machine numbers.

    Attributes:
        sent_at_s: n doubles ("d"); seconds from the start of the load, never falling.
        ttft_s: n doubles; sending to first token.
        e2e_s: n doubles; sending to last token.
        input_tokens: n integers ("q"); as the engine counted them.
        output_tokens: n integers ("q"); likewise.

    Raises:
        InvalidInput: The columns differ in length.
    """

    sent_at_s: "array[float]"
    ttft_s: "array[float]"
    e2e_s: "array[float]"
    input_tokens: "array[int]"
    output_tokens: "array[int]"

    def __post_init__(self) -> None:
        columns = (self.ttft_s, self.e2e_s, self.input_tokens, self.output_tokens)
        if any(len(column) != len(self.sent_at_s) for column in columns):
            raise InvalidInput("The columns of observations differ in length.")

    def __len__(self) -> int:
        return len(self.sent_at_s)
