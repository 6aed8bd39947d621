"""What a profile costs, before it is asked for and while it runs."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from core.domain.deployment import Replica, ReplicaState, job_owner
from core.domain.fleet import Price
from core.domain.ids import new_id, utc_now
from core.domain.job import JobState
from core.domain.plan import ReplicaKind
from core.domain.profile import Profile, Provenance
from core.errors import InvalidInput, NotFound
from core.ports import UnitOfWorkFactory
from core.services import inventory, profiles
from tests.unit.small_world import add_devices, add_models

NOW = utc_now()
KIND = ReplicaKind("small", "cpu-core")


@pytest.fixture
def uow(memory_uow: UnitOfWorkFactory) -> UnitOfWorkFactory:
    add_devices(memory_uow, 2)
    add_models(memory_uow)
    return memory_uow


def profile(model: str, sku: str, startup_s: float, at: datetime, tp: int = 1) -> Profile:
    provenance = Provenance.MEASURED if startup_s else Provenance.IMPORTED
    return Profile(new_id(), model, sku, tp, 1, provenance, at, "", "", startup_s, ())


def estimate(uow: UnitOfWorkFactory, **values: object) -> profiles.ProfileCost:
    return profiles.profile_cost_estimate(uow, "small", "cpu-core", NOW, **values)


def test_without_a_price_the_time_is_known_and_the_dollars_are_not(
    uow: UnitOfWorkFactory,
) -> None:
    cost = estimate(uow)
    assert cost.expected_s > cost.startup_s == profiles.USUAL_STARTUP_S
    assert not cost.startup_seen
    assert cost.expected_usd is cost.most_usd is None


def test_dollars_are_devices_times_time_times_the_price_in_force(uow: UnitOfWorkFactory) -> None:
    inventory.set_price(uow, "cpu-core", 7.2, NOW - timedelta(hours=1))
    with uow() as work:
        work.prices.add(Price("cpu-core", 99.0, NOW + timedelta(hours=1)))
        work.commit()
    cost = estimate(uow, tp=2, max_seconds=100.0)
    assert cost.usd_per_hour == 7.2
    assert cost.most_s == cost.startup_s + 100 + profiles.FIT_S
    assert cost.expected_usd == pytest.approx(2 * cost.expected_s * 7.2 / 3600)
    assert cost.most_usd == pytest.approx(2 * cost.most_s * 7.2 / 3600)


def test_the_start_is_assumed_to_take_what_it_took_before(uow: UnitOfWorkFactory) -> None:
    with uow() as work:
        work.profiles.save(profile("large", "cpu-core", 50.0, NOW))
        work.profiles.save(profile("large", "other", 5.0, NOW))
        work.profiles.save(profile("small", "cpu-core", 0.0, NOW))
        work.commit()
    assert (estimate(uow).startup_s, estimate(uow).startup_seen) == (50.0, True)
    with uow() as work:
        work.profiles.save(profile("small", "cpu-core", 30.0, NOW - timedelta(days=2)))
        work.profiles.save(profile("small", "cpu-core", 40.0, NOW - timedelta(days=1)))
        work.commit()
    assert estimate(uow).startup_s == 40.0


def test_more_levels_are_expected_to_take_longer_up_to_the_budget(uow: UnitOfWorkFactory) -> None:
    few = estimate(uow, concurrencies=[1, 2])
    many = estimate(uow, concurrencies=[1, 2, 4, 8])
    assert (few.levels, many.levels) == (2, 4)
    assert few.expected_s < many.expected_s < many.most_s
    bounded = estimate(uow, concurrencies=[1, 2, 4, 8], max_seconds=5.0)
    assert bounded.expected_s == bounded.most_s == bounded.startup_s + 5 + profiles.FIT_S
    assert bounded.cut_short
    assert not many.cut_short
    with uow() as work:
        model = work.models.get("small")
        assert model is not None
        work.models.save(replace(model, max_num_seqs=64))
        work.commit()
    assert estimate(uow).levels == 7 + profiles.LEVELS_BESIDE_CLIMB


def test_a_model_that_is_not_there_has_no_cost(uow: UnitOfWorkFactory) -> None:
    with pytest.raises(NotFound, match="no model"):
        profiles.profile_cost_estimate(uow, "ghost", "cpu-core", NOW)


def test_a_running_job_costs_what_its_replicas_hold_since_it_began(
    uow: UnitOfWorkFactory,
) -> None:
    inventory.set_price(uow, "cpu-core", 3.6, NOW - timedelta(days=1))
    job = profiles.request_profile(uow, "small", "cpu-core", NOW, query_set="arithmetic")
    job = replace(job, state=JobState.RUNNING, started_at=NOW)
    assert profiles.job_cost_usd(uow, job, NOW + timedelta(seconds=10)) == 0
    died = held(job.job_id, NOW + timedelta(seconds=10), ReplicaState.FAILED)
    died = replace(died, stopped_at=NOW + timedelta(seconds=30))
    # Taken over from another job: this one pays from its own start.
    taken_over = held(job.job_id, NOW - timedelta(seconds=500), ReplicaState.READY)
    with uow() as work:
        for replica in (died, taken_over, held("another", NOW, ReplicaState.READY)):
            work.replicas.add(replica)
        work.commit()
    cost_usd = profiles.job_cost_usd(uow, job, NOW + timedelta(seconds=100))
    assert cost_usd == pytest.approx((20 + 100) * 3.6 / 3600)


def test_without_a_price_a_running_job_has_no_cost(uow: UnitOfWorkFactory) -> None:
    job = profiles.request_profile(uow, "small", "cpu-core", NOW, query_set="arithmetic")
    with uow() as work:
        work.replicas.add(held(job.job_id, NOW, ReplicaState.READY))
        work.commit()
    assert profiles.job_cost_usd(uow, job, NOW + timedelta(seconds=9)) is None


def held(job_id: str, since: datetime, state: ReplicaState) -> Replica:
    return Replica(
        new_id(),
        job_owner(job_id),
        KIND,
        wanted=True,
        state=state,
        created_at=since,
        device_ids=("d",),
        started_at=since,
        ready_at=since,
    )


@pytest.mark.parametrize(
    "values",
    [
        {"concurrencies": []},
        {"concurrencies": [0]},
        {"concurrencies": [5000]},
        {"seconds_per_level": 0.0},
        {"max_seconds": float("nan")},
        {"max_seconds": 1e9},
        {"latency_budget_s": -1.0},
    ],
)
def test_what_cannot_be_measured_is_refused(
    values: dict[str, object], uow: UnitOfWorkFactory
) -> None:
    with pytest.raises(InvalidInput) as refused:
        profiles.request_profile(
            uow,
            "small",
            "cpu-core",
            NOW,
            query_set="arithmetic",
            **values,
        )
    assert "good start" in refused.value.hint


def test_what_is_asked_for_is_what_the_job_gets(uow: UnitOfWorkFactory) -> None:
    climbing = profiles.request_profile(uow, "small", "cpu-core", NOW, query_set="arithmetic")
    assert climbing.params["concurrencies"] is None
    assert climbing.params["max_seconds"] == profiles.MAX_SECONDS
    long = profiles.request_profile(
        uow,
        "small",
        "cpu-core",
        NOW,
        query_set="arithmetic",
        concurrencies=(1, 2, 4),
        seconds_per_level=300.0,
    )
    assert long.params["max_seconds"] > 3 * 300
    chosen = profiles.request_profile(
        uow,
        "small",
        "cpu-core",
        NOW,
        query_set="arithmetic",
        concurrencies=(4, 1, 4),
        seconds_per_level=2.0,
        max_seconds=30.0,
        latency_budget_s=1.5,
    )
    assert chosen.params["concurrencies"] == [1, 4]
    assert chosen.params["seconds_per_level"] == 2.0
    assert chosen.params["max_seconds"] == 30.0
    assert chosen.params["latency_budget_s"] == 1.5
