"""The unknowns of a calibration: how much slower or faster than its data sheet everything is.

A time is predicted as a sum over causes (`StepCost`). Cause c of case i takes exp(theta_ic) times
what the roofline says, where theta_ic is the sum of one effect per level of a hierarchy: of
everything, the engine, the vendor, the generation, the SKU, the model. The whole is shifted by a
sum of effects of the same levels and of the (model, SKU) pair, and by slopes over batch, length
and TP. Every effect has a normal prior around 0: what no point speaks about stays at 0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from core.estimate.hardware import SkuFacts
from core.estimate.roofline import StepCost

Vector = NDArray[np.float64]
Integers = NDArray[np.int64]

LEVELS = ("all", "engine", "vendor", "generation", "sku", "model")
PAIR = "pair"
SLOPE_LEVELS = ("all", "sku")
CAUSES = len(StepCost._fields)

CAUSE_SIGMA = StepCost(0.7, 1.0, 0.3, 0.6, 0.6, 0.8)
"""Prior spread per cause of the logarithm of truth over roofline: bandwidth is reached or nearly,
host work per sequence differs tenfold among engines."""
LEVEL_SHARE = {
    "all": 1.0,
    "engine": 0.5,
    "vendor": 0.5,
    "generation": 0.7,
    "sku": 0.5,
    "model": 0.25,
}
"""Spread of a level as a share of its cause's: neighbours differ less than strangers."""
SHIFT_SIGMA = {
    "all": 0.10,
    "engine": 0.15,
    "vendor": 0.30,
    "generation": 0.30,
    "sku": 0.20,
    "model": 0.10,
    PAIR: 0.10,
}
SLOPE_SIGMA = 0.10


@dataclass(frozen=True, slots=True)
class Case:
    """What a time is the time of.

    Attributes:
        engine: Family of the engine, such as "vllm".
        sku: The device.
        model: Name of the model.
        cost: What the roofline says, by cause.
        batch: Sequences beside each other.
        length: Tokens of a prompt, or of context.
        tp: Tensor-parallel ranks.
    """

    engine: str
    sku: SkuFacts
    model: str
    cost: StepCost
    batch: float
    length: float
    tp: int

    @property
    def predicted_s(self) -> float:
        """The roofline's own answer."""
        return sum(self.cost)

    def at(self, level: str) -> str:
        """Return whose effect applies to it at a level."""
        names = {
            "all": "",
            "engine": self.engine,
            "vendor": self.sku.vendor,
            "generation": self.sku.generation,
            "sku": self.sku.name,
            "model": self.model,
        }
        return f"{self.model} on {self.sku.name}" if level == PAIR else names[level]

    @property
    def slopes(self) -> tuple[float, float, float]:
        """Batch, length and TP on scales of about 1, 0 in the middle of what is usual."""
        return (
            math.log(max(self.batch, 1.0) / 16) / 3,
            math.log(max(self.length, 1.0) / 512) / 2,
            math.log2(self.tp / 2) / 2,
        )


Effect = tuple[str, str, str, int]
"""Kind ("cause", "shift", "slope"), level, name at that level, number of the cause or slope."""


@dataclass
class Effects:
    """Numbers the effects that cases have, in order of appearance."""

    number: dict[Effect, int] = field(default_factory=dict)

    def prior_variance(self, cause_scale: float, shift_scale: float) -> Vector:
        """Return M; prior variance of each effect, spreads multiplied by the scales."""
        return np.array([_sigma(e, cause_scale, shift_scale) ** 2 for e in self.number])

    def design(self, cases: Sequence[Case]) -> "Design":
        """Number what is new in n cases and return how effects act on them."""
        return Design(
            cost_s=np.array([case.cost for case in cases], dtype=np.float64).reshape(-1, CAUSES),
            causes=self._columns([[_causes(c, level) for level in LEVELS] for c in cases]),
            shifts=self._columns([[_shifts(c)] for c in cases])[:, 0],
            slopes=self._columns([[_slopes(c, level) for level in SLOPE_LEVELS] for c in cases]),
            over=np.array([case.slopes for case in cases], dtype=np.float64).reshape(-1, 3),
        )

    def _columns(self, effects: list[list[list[Effect]]]) -> Integers:
        return np.array(
            [
                [[self.number.setdefault(e, len(self.number)) for e in row] for row in rows]
                for rows in effects
            ],
            dtype=np.int64,
        )


@dataclass(frozen=True)
class Design:
    """How M effects act on n cases.

    Attributes:
        cost_s: n x 6; the roofline's seconds by cause.
        causes: n x levels x 6; numbers of the effects of each cause.
        shifts: n x 7; numbers of the effects on the whole.
        slopes: n x 2 x 3; numbers of the slopes.
        over: n x 3; what the slopes are multiplied by.
    """

    cost_s: Vector
    causes: Integers
    shifts: Integers
    slopes: Integers
    over: Vector

    def factors(self, effects: Vector) -> Vector:
        """Return n x 6; what the roofline's seconds are multiplied by."""
        factors: Vector = np.exp(effects[self.causes].sum(axis=1) + self._shift(effects)[:, None])
        return factors

    def log_time(self, effects: Vector) -> Vector:
        """Return n; logarithm of the corrected seconds."""
        log_time: Vector = np.log((self.cost_s * self.factors(effects)).sum(axis=1))
        return log_time

    def jacobian(self, effects: Vector) -> Vector:
        """Return n x M; change of `log_time` per effect: of a cause, its share of the time."""
        parts = self.cost_s * self.factors(effects)
        shares = parts / parts.sum(axis=1, keepdims=True)
        slopes = np.zeros((len(parts), len(effects)))
        row = np.arange(len(parts))[:, None]
        for level in range(self.causes.shape[1]):
            slopes[row, self.causes[:, level]] += shares
        slopes[row, self.shifts] += 1.0
        for level in range(self.slopes.shape[1]):
            slopes[row, self.slopes[:, level]] += self.over
        return slopes

    def _shift(self, effects: Vector) -> Vector:
        sloped = effects[self.slopes].sum(axis=1) * self.over
        shift: Vector = effects[self.shifts].sum(axis=1) + sloped.sum(axis=1)
        return shift


def _causes(case: Case, level: str) -> list[Effect]:
    return [("cause", level, case.at(level), cause) for cause in range(CAUSES)]


def _shifts(case: Case) -> list[Effect]:
    return [("shift", level, case.at(level), 0) for level in SHIFT_SIGMA]


def _slopes(case: Case, level: str) -> list[Effect]:
    return [("slope", level, case.at(level), over) for over in range(3)]


def _sigma(effect: Effect, cause_scale: float, shift_scale: float) -> float:
    kind, level, _, number = effect
    if kind == "cause":
        return cause_scale * LEVEL_SHARE[level] * CAUSE_SIGMA[number]
    return shift_scale * (SHIFT_SIGMA[level] if kind == "shift" else SLOPE_SIGMA)
