"""Shares, availability, unknown classes, and the choice of a replica."""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.deployment import Replica, ReplicaState
from core.domain.ids import utc_now
from core.domain.plan import ReplicaKind, Route, ServingPlan, make_plan
from core.errors import NotReady
from core.routing.classifier import Classified, Classifier
from core.routing.features import SIZE
from core.routing.policy import Router, in_turn, pick_replica

FEW = settings(max_examples=50, deadline=None)
EASY, HARD = "1 + 2?", "What is " + "123 + " * 40 + "9?"


def by_length(long_class: str = "hard") -> Classifier:
    """Long texts are of one class: the first feature grows with the length."""
    weights = np.zeros((2, SIZE), dtype=np.float32)
    weights[1, 0] = 40.0
    return Classifier(["easy", long_class], weights, np.array([0.0, -30.0], dtype=np.float32))


def router(routing: dict[str, dict[str, float]], classifier: Classifier | None = None) -> Router:
    placement = {ReplicaKind(m, "gpu"): 1 for shares in routing.values() for m in shares}
    return Router(make_plan(placement, routing), classifier, ("large", "medium", "small"))


def test_a_query_takes_the_route_of_its_class() -> None:
    route = router({"easy": {"small": 1.0}, "hard": {"large": 1.0}}, by_length())
    assert (route.choose(EASY).query_class, route.choose(EASY).model) == ("easy", "small")
    assert (route.choose(HARD).query_class, route.choose(HARD).model) == ("hard", "large")
    assert 0.5 < route.choose(HARD).confidence <= 1


@FEW
@given(st.lists(st.floats(0.01, 1.0), min_size=2, max_size=5), st.integers(1, 400))
def test_realised_shares_follow_the_plan_at_every_moment(weights: list[float], n: int) -> None:
    total = sum(weights)
    shares = {f"m{i}": w / total for i, w in enumerate(weights)}
    route = router({"easy": shares})
    sent: Counter[str] = Counter()
    for i in range(1, n + 1):
        sent[route.choose(EASY).model] += 1
        # Random routing would stray by the square root of i; this never by a handful.
        assert all(abs(sent[m] - share * i) < len(shares) for m, share in shares.items())


def test_classes_are_counted_apart() -> None:
    route = router(
        {"easy": {"small": 0.75, "large": 0.25}, "hard": {"small": 0.25, "large": 0.75}},
        by_length(),
    )
    sent = Counter(
        (d.query_class, d.model) for _ in range(40) for d in map(route.choose, (EASY, HARD))
    )
    assert sent["easy", "small"] == sent["hard", "large"] == 30


def test_the_same_queries_are_always_routed_the_same() -> None:
    texts = random.Random(5).choices([EASY, HARD], k=200)
    routing = {"easy": {"small": 0.6, "large": 0.4}, "hard": {"large": 0.9, "small": 0.1}}
    first, second = router(routing, by_length()), router(routing, by_length())
    assert [first.choose(t) for t in texts] == [second.choose(t) for t in texts]


def test_shares_are_spread_over_what_is_available() -> None:
    route = router({"easy": {"small": 0.5, "medium": 0.3, "large": 0.2}})
    sent = Counter(route.choose(EASY, {"medium", "large"}).model for _ in range(100))
    assert sent == {"medium": 60, "large": 40}


def test_a_model_that_comes_back_is_not_flooded() -> None:
    route = router({"easy": {"small": 0.5, "large": 0.5}})
    for _ in range(1000):
        route.choose(EASY, {"small"})
    sent = Counter(route.choose(EASY).model for _ in range(100))
    assert abs(sent["small"] - sent["large"]) <= 2


def test_no_available_model_is_said_with_a_remedy() -> None:
    route = router({"easy": {"small": 1.0}})
    with pytest.raises(
        NotReady, match=r"No replica is ready for class 'easy' \(its models: small"
    ):
        route.choose(EASY, {"large"})


def test_an_unknown_class_takes_the_safest_route() -> None:
    routing = {
        "easy": {"small": 1.0},
        "hard": {"large": 0.9, "small": 0.1},
        "medium": {"large": 0.5, "small": 0.5},
    }
    assert router(routing, by_length("poetry")).choose(HARD).query_class == "hard"
    without = router(routing).choose(EASY)
    assert (without.query_class, without.confidence) == ("hard", 0.0)


def test_a_plan_without_routes_is_not_ready() -> None:
    with pytest.raises(NotReady, match="routes nothing"):
        router({}).choose(EASY)


def replica(name: str, devices: int = 1) -> Replica:
    kind = ReplicaKind("m", "gpu", tp=devices)
    return Replica(name, "deployment", kind, True, ReplicaState.READY, utc_now())


def test_the_least_busy_replica_per_device_is_picked() -> None:
    one, four = replica("one"), replica("four", devices=4)
    assert pick_replica([one, four], {"one": 1, "four": 3}) is four
    assert pick_replica([one, four], {"one": 1, "four": 5}) is one
    assert pick_replica([one, four], {"four": 1}) is one


def test_equally_busy_replicas_take_turns() -> None:
    replicas = [replica(name) for name in "abc"]
    picked = Counter(pick_replica(in_turn(replicas, i), {}).replica_id for i in range(9))
    assert picked == {"a": 3, "b": 3, "c": 3}


class CallsAllNew:
    """A classifier to which every query is unlike what it knows."""

    classes = ("easy",)

    def classify(self, text: str, earlier: Sequence[str] = ()) -> Classified:
        return Classified("easy", 0.9, is_new=len(earlier) > 0 or text == HARD)

    def to_bytes(self) -> bytes:
        return b""


def test_what_is_unlike_training_takes_the_safest_route_and_is_counted() -> None:
    placement = {ReplicaKind("small", "gpu"): 1, ReplicaKind("large", "gpu"): 1}
    plan = make_plan(placement, {"easy": {"small": 1.0}, "hard": {"large": 1.0}})
    route = Router(plan, CallsAllNew(), ("large", "small"))
    known, unlike = route.choose(EASY), route.choose(HARD)
    assert (known.model, known.is_new, route.new_queries) == ("small", False, 1)
    assert (unlike.model, unlike.query_class, unlike.is_new) == ("large", "hard", True)
    assert route.choose(EASY, earlier=("Hello",)).model == "large"
    assert route.new_queries == 2


CASCADE = Route("easy", "small", 1.0, "large", -0.5)


def cascading(*cascades: Route, **plain: dict[str, float]) -> ServingPlan:
    routes = [*cascades, *(Route(c, m, 1.0) for c, shares in plain.items() for m in shares)]
    placement = {ReplicaKind(m, "gpu"): 1 for r in routes for m in (r.model, r.escalate_to) if m}
    return make_plan(placement, plain, cascades)


def test_a_cascade_names_both_models_and_the_threshold() -> None:
    route = Router(cascading(CASCADE, hard={"large": 1.0}), by_length(), ("large", "small"))
    easy, hard = route.choose(EASY), route.choose(HARD)
    assert (easy.model, easy.escalate_to, easy.threshold) == ("small", "large", -0.5)
    assert (hard.model, hard.escalate_to) == ("large", "")


def test_a_class_may_be_split_between_models_and_cascades() -> None:
    cascades = [replace(CASCADE, share=0.5), replace(CASCADE, share=0.25, threshold=-1.0)]
    route = Router(cascading(*cascades, easy={"small": 0.25}), None, ("large", "small"))
    taken = Counter((d.escalate_to, d.threshold) for d in (route.choose(EASY) for _ in range(80)))
    assert taken == {("large", -0.5): 40, ("large", -1.0): 20, ("", 0.0): 20}


@pytest.mark.parametrize(("there", "model"), [("small", "small"), ("large", "large")])
def test_half_of_a_cascade_answers_alone(there: str, model: str) -> None:
    route = Router(cascading(CASCADE), None, ("large", "small"))
    decision = route.choose(EASY, {there})
    assert (decision.model, decision.escalate_to) == (model, "")
    with pytest.raises(NotReady, match=r"its models: large, small"):
        route.choose(EASY, {"medium"})


def test_whole_routes_come_before_broken_cascades() -> None:
    plan = cascading(replace(CASCADE, share=0.75), easy={"medium": 0.25})
    route = Router(plan, None, ("large", "medium", "small"))
    assert {route.choose(EASY, {"small", "medium"}).model for _ in range(8)} == {"medium"}


def test_a_query_of_no_known_class_is_not_left_to_a_threshold() -> None:
    plan = cascading(CASCADE, replace(CASCADE, query_class="hard", threshold=-2.0))
    known = Router(plan, by_length(), ("large", "small"))
    assert known.choose(HARD).escalate_to == "large"
    for classifier in (CallsAllNew(), by_length("poetry"), None):
        decision = Router(plan, classifier, ("large", "small")).choose(HARD)
        assert (decision.model, decision.escalate_to) == ("large", "")
    only = Router(cascading(CASCADE), None, ("large", "small"))
    assert only.choose(HARD).escalate_to == "large", "there is nothing to mistake it for"


def test_the_safest_class_leans_on_the_best_model_even_through_a_cascade() -> None:
    to_mid = Route("medium", "small", 1.0, "medium", -0.5)
    plan = cascading(CASCADE, to_mid)
    order = ("large", "medium", "small")
    assert Router(plan, by_length("poetry"), order).choose(HARD).query_class == "easy"
    with_plain = cascading(CASCADE, to_mid, hard={"large": 1.0})
    assert Router(with_plain, by_length("poetry"), order).choose(HARD).query_class == "hard"
