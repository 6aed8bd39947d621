"""What is known of a router: how right its predictions are, and what quality they buy.

Everything here was predicted of queries by models that did not learn from them.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Bin:
    """Queries of similar prediction.

    Attributes:
        predicted: Mean predicted score, 0..1.
        scored: Mean real score.
        count: Number of queries.
    """

    predicted: float
    scored: float
    count: int


@dataclass(frozen=True, slots=True)
class Reliability:
    """How right the predictions for one model are.

    Attributes:
        model: Name.
        auc: Chance that a query it answers well is ranked above one it does not; None when all
            its answers are alike.
        error: Mean |predicted - scored| over the bins (ECE).
        bins: Rising in prediction.
    """

    model: str
    auc: float | None
    error: float
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """One choice of the share of queries that the strong model answers.

    Attributes:
        share: That share, 0..1.
        threshold: Expected gain from which a query goes to the strong model.
        router: Mean score that the predictions reach with it.
        random: Mean score when the same share is drawn at random.
        oracle: Mean score when outcomes were known beforehand.
    """

    share: float
    threshold: float
    router: float
    random: float
    oracle: float


@dataclass(frozen=True, slots=True)
class Example:
    """A query close to a threshold.

    Attributes:
        share: Share of strong calls whose threshold it is close to.
        query: Beginning of its text.
        gain: Expected gain of the strong model over the weak one.
        goes_strong: Whether it goes to the strong model.
        weak_score, strong_score: What the models really scored.
    """

    share: float
    query: str
    gain: float
    goes_strong: bool
    weak_score: float
    strong_score: float


@dataclass(frozen=True, slots=True)
class BandRow:
    """One query class that was made of predictions.

    Attributes:
        name: Its name.
        count: Queries in it.
        predicted, scored: Mean predicted and real score by model.
    """

    name: str
    count: int
    predicted: Mapping[str, float]
    scored: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RouterReport:
    """What is known of a router.

    Attributes:
        queries: Number of different queries that both models answered.
        weak, strong: The model with the worst and the best mean score.
        apgr: Area under the recovered share of the gap between them (RouteLLM, arXiv
            2406.18665); random is 0.5. None where there is no gap.
        cpt_50, cpt_80: Share of strong calls that recovers that much of the gap; None likewise.
        models: Per model.
        points: From none to all queries for the strong model.
        examples: Queries on both sides of some thresholds.
        bands: Classes made of predictions; empty when classes were given.
    """

    queries: int
    weak: str
    strong: str
    apgr: float | None
    cpt_50: float | None
    cpt_80: float | None
    models: tuple[Reliability, ...]
    points: tuple[Point, ...]
    examples: tuple[Example, ...]
    bands: tuple[BandRow, ...] = ()

    def at(self, share: float) -> Point:
        """Return the point whose share is closest."""
        return min(self.points, key=lambda point: abs(point.share - share))

    def to_facts(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @staticmethod
    def from_facts(facts: Mapping[str, Any]) -> "RouterReport":
        """Read what `to_facts` wrote.

        Raises:
            KeyError, TypeError: It is something else.
        """
        models = tuple(
            Reliability(**{**its, "bins": tuple(Bin(**b) for b in its["bins"])})
            for its in facts["models"]
        )
        parts = {
            "models": models,
            "points": tuple(Point(**its) for its in facts["points"]),
            "examples": tuple(Example(**its) for its in facts["examples"]),
            "bands": tuple(BandRow(**its) for its in facts["bands"]),
        }
        return RouterReport(**{**facts, **parts})
