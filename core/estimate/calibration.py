"""Corrects the roofline by whatever was measured, and says how far off it may still be.

A Bayesian hierarchical model (Gelman & Hill, "Data Analysis Using Regression and Multilevel/
Hierarchical Models", ch. 12-13) of log(measured / roofline); its effects are in
`core.estimate.effects`. A few points on one SKU correct that SKU, its generation a little less,
strangers hardly, because a point is explained by the levels in proportion to their prior variance.

The model is linear in its effects but for the sum over causes: Gauss-Newton steps find the most
probable effects, and the posterior is normal around them (Laplace). Two scales of the priors and
the noise are chosen by their evidence (empirical Bayes, MacKay 1992). Noise is Student's t with
four degrees of freedom, by weights (Lange, Little & Taylor 1989): public measurements hold
mistakes. At last every pair's points are predicted from all other pairs', and if they miss by more
than sigma says, sigma is widened.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from threadpoolctl import threadpool_limits

from core.estimate.effects import PAIR, Case, Design, Effects, Vector
from core.estimate.roofline import StepCost

DEGREES = 4.0
NOISE_SIGMA = 0.10
"""Of one measurement around the model, before anything was measured."""
LEAST_NOISE, MOST_NOISE = 0.02, 1.0
SCALE_SPREAD, NOISE_SPREAD = 0.5, 0.7
"""How far evidence may easily move scales and noise, as logarithms."""
ROUNDS, STEPS = 4, 8
SETTLED = 1e-2
UNCALIBRATED_SIGMA = {"nvidia": 0.40, "amd": 1.08}
OTHERS_UNCALIBRATED_SIGMA = 2.13
"""Before the first point: root mean squares of the roofline's logarithmic errors on published
measurements (`boute bench estimates`), two data sets for NVIDIA, one device for Intel."""
TRUSTED_PAIRS = 3
"""Pairs' worth of belief that sigma is right as it is."""
WORST_MISS = 6.0


@dataclass(frozen=True, slots=True)
class Measured:
    """A case and how long it really took."""

    case: Case
    measured_s: float


class Corrected(NamedTuple):
    """A corrected time, and one standard deviation of the logarithm of it over the truth."""

    value_s: float
    sigma: float


@dataclass(frozen=True)
class _Scales:
    cause: float = 1.0
    shift: float = 1.0
    noise: float = NOISE_SIGMA


@dataclass(frozen=True)
class Calibration:
    """What measured points taught. Without any, the roofline and how far off it was elsewhere.

    Attributes:
        points: Measured points it was fitted to.
        widened: What sigma is multiplied by, because pairs left out were missed by more.
    """

    points: int = 0
    widened: float = 1.0
    _effects: Effects = field(default_factory=Effects)
    _mean: Vector = field(default_factory=lambda: np.zeros(0))
    _covariance: Vector = field(default_factory=lambda: np.zeros((0, 0)))
    _scales: _Scales = _Scales()

    @classmethod
    def fit(cls, points: Sequence[Measured]) -> "Calibration":
        """Fit to measured points; none leaves the priors.

        A time that is not above zero, or a case that costs nothing, is left out.
        """
        known = [p for p in points if p.measured_s > 0 and p.case.predicted_s > 0]
        if not known:
            return cls()
        # Matrices of a few hundred rows: threads of the linear algebra only wait for each other,
        # on a busy machine more than ten times as long as one alone needs.
        with threadpool_limits(1, user_api="blas"):
            return _Fit(known).result()

    def corrected(self, case: Case) -> Corrected:
        """Return the corrected time of a case and its sigma."""
        values_s, sigmas = self.corrected_all([case])
        return Corrected(float(values_s[0]), float(sigmas[0]))

    def corrected_all(self, cases: Sequence[Case]) -> tuple[Vector, Vector]:
        """Return n corrected times in seconds, and their n sigmas."""
        design, mean, effects = self._extended(cases)
        slopes, known = design.jacobian(mean), len(self._mean)
        unseen = effects.prior_variance(self._scales.cause, self._scales.shift)[known:]
        learnt = slopes[:, :known]
        with threadpool_limits(1, user_api="blas"):
            variance = ((learnt @ self._covariance) * learnt).sum(axis=1)
            variance += slopes[:, known:] ** 2 @ unseen + _noise_variance(self._scales.noise)
        values_s = np.exp(design.log_time(mean))
        if not self.points:
            return values_s, np.array([_uncalibrated(case) for case in cases])
        return values_s, self.widened * np.sqrt(variance)

    def factors(self, case: Case) -> StepCost:
        """Return by what the roofline's seconds of each cause are to be multiplied."""
        design, mean, _ = self._extended([case])
        return StepCost(*map(float, design.factors(mean)[0]))

    def _extended(self, cases: Sequence[Case]) -> tuple[Design, Vector, Effects]:
        """Number the effects nobody measured behind the known ones; they are 0."""
        effects = Effects(dict(self._effects.number))
        design = effects.design(cases)
        mean = np.zeros(len(effects.number))
        mean[: len(self._mean)] = self._mean
        return design, mean, effects


def _uncalibrated(case: Case) -> float:
    return UNCALIBRATED_SIGMA.get(case.sku.vendor, OTHERS_UNCALIBRATED_SIGMA)


def _noise_variance(scale: float) -> float:
    """Variance of Student's t of a scale."""
    return scale**2 * DEGREES / (DEGREES - 2)


class _Fit:
    """n measured points, M effects."""

    def __init__(self, points: Sequence[Measured]) -> None:
        self._effects = Effects()
        cases = [point.case for point in points]
        self._design = self._effects.design(cases)
        self._log_s: Vector = np.log([point.measured_s for point in points])
        self._is_cause = np.array([kind == "cause" for kind, *_ in self._effects.number])
        self._mean: Vector = np.zeros(len(self._effects.number))
        self._weights: Vector = np.ones(len(points))
        names = [case.at(PAIR) for case in cases]
        self._pairs = [np.flatnonzero(np.array(names) == name) for name in dict.fromkeys(names)]

    def result(self) -> Calibration:
        scales = _Scales()
        for round_number in range(ROUNDS):
            self._find_mean(scales, robust=round_number > 0)
            if round_number < ROUNDS - 1:
                scales = self._find_scales(scales)
        prior = self._prior(scales)
        slopes = self._design.jacobian(self._mean)
        spread = self._spread(slopes, scales)
        inverse: Vector = cho_solve(cho_factor(spread), np.eye(len(spread)))
        scaled = slopes * prior
        return Calibration(
            points=len(self._log_s),
            widened=self._widened(inverse, slopes, scales.noise),
            _effects=self._effects,
            _mean=self._mean,
            _covariance=np.diag(prior) - scaled.T @ inverse @ scaled,
            _scales=scales,
        )

    def _prior(self, scales: _Scales) -> Vector:
        return self._effects.prior_variance(scales.cause, scales.shift)

    def _spread(self, slopes: Vector, scales: _Scales) -> Vector:
        """Return n x n; covariance of the measured logarithms before they were measured."""
        noise = scales.noise**2 / self._weights
        spread: Vector = (slopes * self._prior(scales)) @ slopes.T + np.diag(noise)
        return spread

    def _linearised(self, slopes: Vector) -> Vector:
        """Return n; what the effects would have to explain if the model were linear here."""
        missed = self._log_s - self._design.log_time(self._mean)
        explained: Vector = missed + slopes @ self._mean
        return explained

    def _find_mean(self, scales: _Scales, *, robust: bool) -> None:
        prior = self._prior(scales)
        for step in range(STEPS):
            slopes = self._design.jacobian(self._mean)
            if robust or step > STEPS // 2:
                missed = self._log_s - self._design.log_time(self._mean)
                self._weights = (DEGREES + 1) / (DEGREES + (missed / scales.noise) ** 2)
            solved = cho_solve(cho_factor(self._spread(slopes, scales)), self._linearised(slopes))
            change = prior * (slopes.T @ solved) - self._mean
            self._mean = self._mean + (0.7 if step < 3 else 1.0) * change
            if np.abs(change).max() < SETTLED:
                return

    def _find_scales(self, start: _Scales) -> _Scales:
        """Maximise the evidence of the linearised model times priors on the logarithms."""
        slopes = self._design.jacobian(self._mean)
        target, unit = self._linearised(slopes), self._prior(_Scales())
        of_causes, rest = slopes[:, self._is_cause], slopes[:, ~self._is_cause]
        parts = [
            (of_causes * unit[self._is_cause]) @ of_causes.T,
            (rest * unit[~self._is_cause]) @ rest.T,
            np.diag(1 / self._weights),
        ]
        centre = np.log([1.0, 1.0, NOISE_SIGMA])
        spread = np.array([SCALE_SPREAD, SCALE_SPREAD, NOISE_SPREAD])

        def surprise(logs: Vector) -> tuple[float, Vector]:
            terms = [np.exp(2 * log) * part for log, part in zip(logs, parts, strict=True)]
            factor = cho_factor(sum(terms[1:], terms[0]), lower=True)
            inverse = cho_solve(factor, np.eye(len(target)))
            solved = inverse @ target
            away = (logs - centre) / spread
            value = target @ solved / 2 + np.log(np.diag(factor[0])).sum() + away @ away / 2
            slope = [np.sum(inverse * term) - solved @ term @ solved for term in terms]
            return float(value), np.array(slope) + away / spread

        # scipy.optimize takes half a second to load, and the dashboard hardly ever calibrates.
        from scipy.optimize import minimize

        found = minimize(
            surprise,
            np.log([start.cause, start.shift, start.noise]),
            jac=True,
            method="L-BFGS-B",
            bounds=[(-1.5, 1.5), (-1.5, 1.5), (np.log(LEAST_NOISE), np.log(MOST_NOISE))],
            options={"maxiter": 15},
        )
        return _Scales(*map(float, np.exp(found.x)))

    def _widened(self, inverse: Vector, slopes: Vector, noise: float) -> float:
        """Return the root mean square of how far pairs are missed when they are left out, in
        sigmas, at least 1 (Rasmussen & Williams 2006, eq. 5.12, for blocks)."""
        solved = inverse @ self._linearised(slopes)
        missed = [self._missed(rows, inverse, solved, noise) for rows in self._pairs]
        mean = (TRUSTED_PAIRS + sum(missed)) / (TRUSTED_PAIRS + len(missed))
        return float(np.sqrt(max(1.0, mean)))

    def _missed(
        self,
        rows: "np.ndarray[tuple[int], np.dtype[np.intp]]",
        inverse: Vector,
        solved: Vector,
        noise: float,
    ) -> float:
        left_out = np.linalg.inv(inverse[np.ix_(rows, rows)])
        weighted = noise**2 / self._weights[rows]
        variance = np.diag(left_out) - weighted + _noise_variance(noise)
        sigmas = np.abs(left_out @ solved[rows]) / np.sqrt(variance)
        return float(np.mean(np.minimum(sigmas, WORST_MISS) ** 2))
