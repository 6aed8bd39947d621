"""Profiles, workloads, query sets, outcomes, classifiers."""

from dataclasses import replace
from typing import Any

from core.domain.profile import Provenance
from core.domain.trace import Trace
from core.ports import UnitOfWorkFactory
from tests.contract import samples


def test_a_profile_grows_while_its_job_runs(any_uow: UnitOfWorkFactory) -> None:
    whole = samples.profile()
    with any_uow() as work:
        work.profiles.save(replace(whole, levels=()))
        work.profiles.save(whole)
        work.commit()
    with any_uow() as work:
        assert work.profiles.get("p1") == whole
        assert work.profiles.get("p2") is None
        assert work.profiles.all() == [whole]


def test_profiles_come_newest_first(any_uow: UnitOfWorkFactory) -> None:
    profiles = [samples.profile("a", 1), samples.profile("c", 3), samples.profile("b", 2)]
    with any_uow() as work:
        for profile in profiles:
            work.profiles.save(profile)
        assert [profile.profile_id for profile in work.profiles.all()] == ["c", "b", "a"]


def test_the_latest_profile_stands_in_front_unless_it_is_empty(
    any_uow: UnitOfWorkFactory,
) -> None:
    old, new = samples.profile("old", 1), samples.profile("new", 2)
    tp2 = samples.profile("tp2", 0, tp=2, provenance=Provenance.PREDICTED)
    pp2 = samples.profile("pp2", 0, pp=2)
    h100 = samples.profile("h100", 0, sku="H100")
    with any_uow() as work:
        for profile in (new, old, tp2, pp2, h100, samples.profile("begun", 3, levels=())):
            work.profiles.save(profile)
        assert work.profiles.latest() == [h100, new, pp2, tp2]


def test_workloads_are_replaced_and_come_newest_first(any_uow: UnitOfWorkFactory) -> None:
    first, second = samples.workload("a", 1), samples.workload("b", 2)
    with any_uow() as work:
        work.workloads.save(replace(first, name="Draft"))
        work.workloads.save(second)
        work.workloads.save(first)
        work.commit()
    with any_uow() as work:
        assert work.workloads.all() == [second, first]
        assert work.workloads.get("a") == first
        assert work.workloads.get("c") is None


def test_measured_profiles_stand_before_newer_estimates(any_uow: UnitOfWorkFactory) -> None:
    measured = samples.profile("measured", 1)
    imported = samples.profile("imported", 2, provenance=Provenance.IMPORTED)
    predicted = samples.profile("predicted", 3, provenance=Provenance.PREDICTED)
    with any_uow() as work:
        work.profiles.save(predicted)
        work.profiles.save(imported)
        assert work.profiles.latest() == [imported]
        work.profiles.save(measured)
        assert work.profiles.latest() == [measured]


def test_a_workload_keeps_its_trace(any_uow: UnitOfWorkFactory) -> None:
    trace = samples.trace()
    with any_uow() as work:
        work.workloads.save_trace("w1", Trace(*[c[:1] for c in _columns(trace)], ("x", "y")))
        work.workloads.save_trace("w1", trace)
        work.commit()
    with any_uow() as work:
        assert work.workloads.trace("w1") == trace
        assert work.workloads.trace("w2") is None


def _columns(trace: Trace) -> list[Any]:
    return [trace.arrived_at_s, trace.input_tokens, trace.output_tokens, trace.query_class]


def test_a_profile_keeps_what_each_load_saw(any_uow: UnitOfWorkFactory) -> None:
    seen = samples.observations()
    with any_uow() as work:
        work.profiles.save_observations("p1", "closed:4", samples.observations())
        work.profiles.save_observations("p1", "closed:4", seen)
        work.profiles.save_observations("p1", "closed:16", seen)
        work.profiles.save_observations("p2", "closed:1", seen)
        work.commit()
    with any_uow() as work:
        assert work.profiles.observations("p1") == {"closed:16": seen, "closed:4": seen}
        assert work.profiles.observations("p3") == {}


def test_query_sets_keep_their_order_and_any_language(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as work:
        work.query_sets.save(samples.query_set("b"))
        work.query_sets.save(samples.query_set("B", max_tokens=1))
        work.query_sets.save(samples.query_set("a"))
        work.query_sets.save(samples.query_set("B"))
        work.commit()
    with any_uow() as work:
        assert work.query_sets.names() == ["B", "a", "b"]
        assert work.query_sets.get("B") == samples.query_set("B")
        assert work.query_sets.get("c") is None


def test_an_interrupted_step_takes_its_outcomes_back(any_uow: UnitOfWorkFactory) -> None:
    kept = [samples.outcome("2", "j2"), samples.outcome("3", "j1", "hard")]
    with any_uow() as work:
        work.outcomes.add([samples.outcome("1"), *kept])
        work.outcomes.add([])
        work.commit()
    with any_uow() as work:
        work.outcomes.remove_job("j1", "easy")
        work.outcomes.add([samples.outcome("4")])
        work.commit()
    with any_uow() as work:
        assert work.outcomes.all() == [*kept, samples.outcome("4")]
        assert work.outcomes.by_job("j1") == [kept[1], samples.outcome("4")]
        assert work.outcomes.by_job("j9") == []


def test_equal_outcomes_are_both_kept(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as work:
        work.outcomes.add([samples.outcome(), samples.outcome()])
        assert len(work.outcomes.all()) == 2


def test_a_newer_estimate_replaces_the_older(any_uow: UnitOfWorkFactory) -> None:
    hard, easy = samples.estimate(0.3, "hard"), samples.estimate(0.95, "easy")
    with any_uow() as work:
        work.outcomes.save_estimate(hard)
        work.outcomes.save_estimate(samples.estimate(0.1, "easy"))
        work.outcomes.save_estimate(easy)
        work.commit()
    with any_uow() as work:
        assert work.outcomes.estimates() == [easy, hard]


def test_classifiers_are_numbered_from_one(any_uow: UnitOfWorkFactory) -> None:
    facts = {"accuracy": 0.97, "classes": ["easy", "hard"], "n": 600}
    with any_uow() as work:
        assert work.classifiers.latest() is None
        assert work.classifiers.latest_version() is None
        assert work.classifiers.add(b"\x00old", {}, samples.NOW) == 1
        work.commit()
    with any_uow() as work:
        assert work.classifiers.add(b"\x00\xffnew", facts, samples.NOW) == 2
        work.commit()
    with any_uow() as work:
        assert work.classifiers.latest_version() == 2
        assert work.classifiers.latest() == (2, b"\x00\xffnew", facts)


def test_cascades_of_a_class_are_replaced_together(any_uow: UnitOfWorkFactory) -> None:
    old, new = samples.cascade(-0.5), [samples.cascade(-0.25), samples.cascade(-0.125)]
    hard = samples.cascade(query_class="hard")
    with any_uow() as work:
        work.outcomes.replace_cascades(["easy", "hard"], [old, hard])
        work.outcomes.replace_cascades(["easy", "medium"], list(reversed(new)))
        work.commit()
    with any_uow() as work:
        assert work.outcomes.cascades() == [*new, hard]
        work.outcomes.replace_cascades(["easy"], [])
        assert work.outcomes.cascades() == [hard]
