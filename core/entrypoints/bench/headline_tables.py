"""What the headline benchmark found, as averages and as tables."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

AIMS = {
    "savings": "least cost at equal quality and latency: share of the cost saved",
    "latency": "least P95 at equal budget and quality: how much longer the baseline's P95 is",
    "throughput": "most throughput at equal budget and quality: how much more than the baseline",
}
BASELINES = {
    "one_model_one_sku": "one model, one GPU type",
    "routing_only": "routing only",
    "placement_only": "placement only",
    "routing_then_placement": "routing, then placement",
}
OURS = "joint"
FACTORS = ("rate", "floor", "sla", "fleet")
PAPER = {
    "savings": {"average": 0.38, "best": 0.61},
    "latency": {"average": 0.59, "best": 1.57},
    "throughput": {"average": 0.59, "best": 1.57},
}
"""arXiv 2602.10729: against other serving systems, on its own models, fleets and traces. It calls
the second pair "performance"; both of ours stand beside it."""

Answers = Sequence[Mapping[str, Any]]


def averages(settings: Answers) -> dict[str, Any]:
    """Return average and best gain per aim and baseline, over settings where both meet the limits.

    Next to them how often only the joint plan meets them, how often neither does, and the same
    averages per rate, floor, latency and fleet.
    """
    return {
        aim: {
            "paper": PAPER[aim],
            "baselines": {
                baseline: _of_baseline(settings, aim, baseline) for baseline in BASELINES
            },
        }
        for aim in AIMS
    }


def _of_baseline(settings: Answers, aim: str, baseline: str) -> dict[str, Any]:
    pairs = [(s[aim][OURS], s[aim][baseline]) for s in settings if aim in s]
    return {
        **_gains(theirs["gain"] for _, theirs in pairs),
        "only_joint_meets": sum(o["meets"] and not t["meets"] for o, t in pairs),
        "neither_meets": sum(not o["meets"] for o, _ in pairs),
        "not_asked": len(settings) - len(pairs),
        **{
            f"by_{factor}": {
                str(level): _gains(
                    s[aim][baseline]["gain"] for s in settings if aim in s and s[factor] == level
                )
                for level in dict.fromkeys(s[factor] for s in settings)
            }
            for factor in FACTORS
        },
    }


def _gains(gains: Iterable[float | None]) -> dict[str, Any]:
    known = [gain for gain in gains if gain is not None]
    return {
        "settings": len(known),
        "average": sum(known) / len(known) if known else None,
        "median": statistics.median(known) if known else None,
        "best": max(known, default=None),
        "worst": min(known, default=None),
    }


def text(result: Mapping[str, Any]) -> str:
    """Return the whole result as text."""
    settings = result["settings"]
    lines = _data(result["data"])
    for aim, meaning in AIMS.items():
        lines += ["", f"{aim}: {meaning}", *_table(settings, aim)]
        lines += _summary(result["averages"][aim], len(settings))
    kept = result["promises"]
    lines += [
        "",
        f"quality floors on questions that nothing was learnt from: kept by {kept['kept']:.0%} of "
        f"{kept['routings']} optimised routings, on average {100 * kept['mean']:+.1f} points from "
        f"the floor, at worst {100 * kept['worst']:+.1f} (standard error of one: "
        f"{100 * kept['error']:.1f})",
    ]
    return "\n".join(lines)


def _data(data: Mapping[str, Any]) -> list[str]:
    alone = ", ".join(f"{model} {bound:.3f}" for model, bound in data["quality_alone"].items())
    lines = [
        f"quality that one model alone is sure of: {alone}; the classifier's AUC on unseen "
        f"questions is {data['classifier_auc']:.2f}",
        "right answers per band, small / large: "
        + ", ".join(f"{band['small']:.2f} / {band['large']:.2f}" for band in data["bands"]),
    ]
    for name, fleet in data["fleets"].items():
        rented = ", ".join(
            f"{r['nodes']} x {r['devices']} {r['sku']} at ${r['usd_per_gpu_hour']:.2f}/h"
            for r in fleet
        )
        lines.append(f"fleet {name}: {rented} per GPU")
    return lines


def _table(settings: Answers, aim: str) -> list[str]:
    unit = {"savings": "$/h", "latency": "s", "throughput": "req/s"}[aim]
    head = f"  {'fleet, rate, floor, SLA':<34} {'joint ' + unit:>12}"
    lines = [head + "".join(f" {name:>24}" for name in BASELINES.values())]
    for setting in settings:
        if aim in setting:
            cells = (_cell(setting[aim][baseline]) for baseline in BASELINES)
            ours = _ours(setting[aim][OURS])
            lines.append(
                f"  {setting['name']:<34} {ours:>12}" + "".join(map("{:>25}".format, cells))
            )
        else:
            lines.append(f"  {setting['name']:<34} one model does not fit on one GPU type")
    return lines


def _ours(ours: Mapping[str, Any]) -> str:
    if ours.get("value") is None:
        return "none"
    return f"{ours['value']:.2f}" + ("" if ours["meets"] else " *")


def _cell(theirs: Mapping[str, Any]) -> str:
    if theirs.get("value") is None:
        return "no plan"
    if theirs["gain"] is None:
        return f"{theirs['value']:.2f} *"
    return f"{theirs['value']:.2f} ({theirs['gain']:+.1%})"


def _summary(averages: Mapping[str, Any], settings: int) -> list[str]:
    paper = averages["paper"]
    lines = [
        "  * misses a limit; gains are over settings where both keep all limits",
        f"  the paper: average {paper['average']:.0%}, best {paper['best']:.0%}",
    ]
    for baseline, name in BASELINES.items():
        of = averages["baselines"][baseline]
        lines.append(
            f"  against {name}: {_figures(of)}, over {of['settings']} of {settings} settings; "
            f"only joint feasible: {of['only_joint_meets']}"
        )
        if baseline == "one_model_one_sku":
            lines += [
                f"    {factor} {level}: {_figures(found)}, over {found['settings']}"
                for factor in FACTORS
                for level, found in of[f"by_{factor}"].items()
            ]
    return lines


def _figures(found: Mapping[str, Any]) -> str:
    if found["average"] is None:
        return "never both feasible"
    return f"average {found['average']:.1%}, best {found['best']:.1%}, worst {found['worst']:.1%}"
