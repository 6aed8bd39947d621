"""`boute profile MODEL`: measure a model on a device type, follow the job, print what it found."""

import json
import sys
from dataclasses import asdict
from typing import Any

from core.domain.ids import utc_now
from core.domain.profile import Profile
from core.entrypoints.waiting import require_controller, say, wait_for_jobs
from core.errors import NotFound
from core.ports import UnitOfWorkFactory
from core.services import inventory, profiles, quality
from core.settings import Settings
from db.unit_of_work import uow_factory


def profile(
    settings: Settings,
    model: str,
    sku: str | None,
    query_set: str | None,
    tp: int,
    *,
    as_json: bool,
) -> int:
    """Run one adaptive profile on the running controller.

    Args:
        sku: Device type; None when the fleet has one only.
        query_set: What is asked; None when there is one only.

    Raises:
        NotFound: No such model, device type or query set, or several to choose from.
        NotReady: No controller runs.
    """
    uow = uow_factory(settings.database_url)
    require_controller(uow)
    sku = sku or _only("device type", sorted({d.sku for d in inventory.devices(uow)}), "--sku")
    query_set = query_set or _only("query set", quality.query_sets(uow), "--queries")
    cost = profiles.profile_cost_estimate(uow, model, sku, utc_now(), tp=tp)
    usd = cost.expected_usd
    price = "no price is set" if usd is None else f"${usd:.4f}"
    say(f"Expected: {cost.expected_s:.0f} s on {cost.devices} x {sku}, {price}")
    job = profiles.request_profile(uow, model, sku, utc_now(), query_set=query_set, tp=tp)
    [done] = wait_for_jobs(uow, lambda known: known.job_id == job.job_id)
    made = _profile(uow, job.job_id)
    seconds = (
        (done.finished_at - done.started_at).total_seconds()
        if done.started_at and done.finished_at
        else None
    )
    result = {"seconds": seconds, **done.result, "profile": _described(made)}
    if as_json:
        json.dump(result, sys.stdout, indent=2)
        print()
    else:
        _print_table(made, seconds)
    return 0


def _only(what: str, names: list[str], option: str) -> str:
    if len(names) == 1:
        return names[0]
    raise NotFound(
        f"There is no {what} to measure with."
        if not names
        else f"There are several to choose from as {what}: {', '.join(names)}.",
        f"Name one with {option}." if names else "The Overview's first start brings one.",
    )


def _profile(uow: UnitOfWorkFactory, profile_id: str) -> Profile:
    found = next((p for p in profiles.profiles(uow) if p.profile_id == profile_id), None)
    if found is None:
        raise NotFound("The profile is gone from the database.", "Run it again.")
    return found


def _described(made: Profile) -> dict[str, Any]:
    return asdict(made) | {"measured_at": made.measured_at.isoformat()}


def _print_table(made: Profile, seconds: float | None) -> None:
    took = "" if seconds is None else f" in {seconds:.0f} s, start included"
    print(f"{made.model} on {made.sku}, TP {made.tp}: {len(made.levels)} levels{took}")
    print(f"{'load':>12} {'req/s':>8} {'tok/s':>8} {'TTFT ms':>9} {'TPOT ms':>9} {'E2E ms':>9}")
    for level in made.levels:
        load = f"{level.concurrency} held"
        if level.rate_rps is not None:
            load = f"{level.rate_rps:.2f}/s"
        print(
            f"{load:>12} {level.requests_per_s:8.2f} {level.output_tokens_per_s:8.0f} "
            f"{level.ttft_ms.mean:9.1f} {level.tpot_ms.mean:9.2f} {level.e2e_ms.mean:9.0f}"
        )
    if made.step and made.fit:
        step, fit = made.step, made.fit
        print(
            f"step: {1e3 * step.fixed_s:.2f} ms + {1e3 * step.per_sequence_s:.3f} per sequence + "
            f"{1e6 * step.per_context_token_s:.3f} us per context token + "
            f"{1e3 * step.per_prefill_token_s:.3f} ms per prompt token + "
            f"{1e3 * step.per_request_s:.2f} per request"
        )
        print(
            f"fit over {fit.requests} answers: R2 {fit.r_squared:.2f}, median error "
            f"E2E {fit.e2e_median_error:.1%}, TTFT {fit.ttft_median_error:.1%}, "
            f"speed between loads +- {fit.speed_variation:.0%}"
        )
