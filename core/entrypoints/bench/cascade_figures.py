"""What answers by one model and by a cascade cost, and how good they are."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev
from typing import Any

from core.domain.cascade import CascadeEstimate
from core.domain.intervals import Z_95
from core.domain.quality import Outcome

SMALL_ALONE, LARGE_ALONE, CASCADE = "all small", "all large", "cascade"
QUALITY_BAR = 0.01
SAVING_BAR = 0.30


@dataclass(frozen=True, slots=True)
class Call:
    """One model's answer.

    Attributes:
        score: 0..1.
        seconds: To its last token.
        confidence: Mean token log-probability; None when it was not asked for.
    """

    model: str
    score: float
    seconds: float
    confidence: float | None


@dataclass(frozen=True, slots=True)
class Asked:
    """One question, answered in one way.

    Attributes:
        way: One of the three constants above.
        kind: Difficulty of the question.
        calls: One, or two when the first one was thrown away.
        cpu_s: Mean CPU time of the replicas per question of its turn, all calls together.
    """

    way: str
    query: str
    kind: str
    calls: tuple[Call, ...]
    cpu_s: float

    @property
    def score(self) -> float:
        """Of the answer that is given."""
        return self.calls[-1].score

    @property
    def seconds(self) -> float:
        """To the last token, all calls after each other."""
        return sum(call.seconds for call in self.calls)


def result_of(
    outcomes: Sequence[Outcome],
    offered: Sequence[CascadeEstimate],
    chosen: CascadeEstimate,
    asked: Sequence[Asked],
) -> dict[str, Any]:
    """Return what the benchmark prints.

    Args:
        outcomes: Of the calibration half.
        offered: Cascades that they speak for.
        chosen: The one that was run.
        asked: Every question of the other half, in each way.
    """
    ways = {way: _of(asked, way) for way in (SMALL_ALONE, LARGE_ALONE, CASCADE)}
    rows = {way: _row(its) for way, its in ways.items()}
    large, cascade = rows[LARGE_ALONE], rows[CASCADE]
    lost = [a.score - b.score for a, b in zip(ways[LARGE_ALONE], ways[CASCADE], strict=True)]
    saving = {name: 1 - cascade[name] / large[name] for name in ("seconds", "cpu_s")}
    escalated = fmean(len(one.calls) > 1 for one in ways[CASCADE])
    return {
        "questions": {"calibration": chosen.n, "held_out": len(ways[CASCADE])},
        "chosen": asdict(chosen),
        "large_in_calibration": fmean(o.score for o in outcomes if o.model == chosen.escalate_to),
        "ways": rows,
        "by_kind": _by_kind(ways),
        "escalated": {
            "predicted": chosen.escalated,
            "seen": escalated,
            "standard_error": _spread(chosen.escalated, chosen.n, len(ways[CASCADE])),
        },
        "quality_lost": {
            "points": 100 * fmean(lost),
            "half_width": 100 * Z_95 * stdev(lost) / math.sqrt(len(lost)),
            "within": fmean(lost) <= QUALITY_BAR,
        },
        "saving": saving | {"within": saving["cpu_s"] >= SAVING_BAR},
        "first_call_s": {
            "accepted": _mean(
                one.calls[0].seconds for one in ways[CASCADE] if len(one.calls) == 1
            ),
            "escalated": _mean(
                one.calls[0].seconds for one in ways[CASCADE] if len(one.calls) > 1
            ),
        },
        "thresholds": [_threshold(one, ways) for one in offered],
    }


def told_table(found: dict[str, Any]) -> str:
    """Return the same for people."""
    lines = [
        f"{found['questions']['held_out']} questions that calibrated nothing, {found['engine']}",
        f"{'':<12}{'right':>8}{'CPU s':>10}{'whole s':>10}",
    ]
    for way, row in found["ways"].items():
        lines.append(f"{way:<12}{row['score']:>8.1%}{row['cpu_s']:>10.4f}{row['seconds']:>10.4f}")
    lost, saving, share = found["quality_lost"], found["saving"], found["escalated"]
    lines += [
        f"quality lost: {lost['points']:.2f} +- {lost['half_width']:.2f} points "
        f"({'within' if lost['within'] else 'beyond'} {QUALITY_BAR:.0%})",
        f"device time saved: {saving['cpu_s']:.1%} ({'reaches' if saving['within'] else 'misses'} "
        f"{SAVING_BAR:.0%}); time to the last token, one at a time: {saving['seconds']:.1%}",
        f"escalated: predicted {share['predicted']:.1%}, seen {share['seen']:.1%} "
        f"(standard error {share['standard_error']:.1%})",
        f"{'threshold':>10}{'escalated':>20}{'quality':>36}",
    ]
    for row in found["thresholds"]:
        lines.append(
            f"{row['threshold']:>10.4f}{row['escalated']:>10.1%} -> {row['seen_escalated']:>6.1%}"
            f"{row['mean']:>10.1%} ({row['lower']:.1%}..{row['upper']:.1%}) -> "
            f"{row['seen_score']:>6.1%}"
        )
    for kind, row in found["by_kind"].items():
        lines.append(
            f"{kind}: small right on {row['small']:.0%}, large on {row['large']:.0%}, cascade on "
            f"{row['cascade']:.0%}, escalated {row['escalated']:.0%} of {row['questions']}"
        )
    return "\n".join(lines)


def _mean(values: Iterable[float]) -> float | None:
    given = list(values)
    return fmean(given) if given else None


def _of(asked: Sequence[Asked], way: str) -> list[Asked]:
    """Return one way's answers in the order of the questions."""
    return sorted((one for one in asked if one.way == way), key=lambda one: one.query)


def _row(its: Sequence[Asked]) -> dict[str, float]:
    return {
        "score": fmean(one.score for one in its),
        "seconds": fmean(one.seconds for one in its),
        "cpu_s": fmean(one.cpu_s for one in its),
    }


def _by_kind(ways: dict[str, list[Asked]]) -> dict[str, dict[str, float]]:
    found = {}
    for kind in sorted({one.kind for one in ways[CASCADE]}):
        small, large, cascade = (
            [one for one in ways[way] if one.kind == kind]
            for way in (SMALL_ALONE, LARGE_ALONE, CASCADE)
        )
        found[kind] = {
            "questions": len(cascade),
            "small": fmean(one.score for one in small),
            "large": fmean(one.score for one in large),
            "cascade": fmean(one.score for one in cascade),
            "escalated": fmean(len(one.calls) > 1 for one in cascade),
        }
    return found


def _threshold(estimate: CascadeEstimate, ways: dict[str, list[Asked]]) -> dict[str, Any]:
    """Compare what calibration promised with what the other half's answers say."""
    goes_on = [_sureness(one.calls[0]) < estimate.threshold for one in ways[SMALL_ALONE]]
    scores = [
        large.score if goes else small.score
        for goes, small, large in zip(goes_on, ways[SMALL_ALONE], ways[LARGE_ALONE], strict=True)
    ]
    return asdict(estimate) | {"seen_escalated": fmean(goes_on), "seen_score": fmean(scores)}


def _sureness(call: Call) -> float:
    return -math.inf if call.confidence is None else call.confidence


def _spread(share: float, calibrated_on: int, seen_on: int) -> float:
    """Standard error of a share seen on one sample less that on another."""
    return math.sqrt(share * (1 - share) * (1 / calibrated_on + 1 / seen_on))
