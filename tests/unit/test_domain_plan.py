"""Plans with and without cascades: identity, shares, and rows written before there were any."""

from pydantic import TypeAdapter

from core.domain.plan import ReplicaKind, Route, ServingPlan, make_plan

SMALL, LARGE = ReplicaKind("small", "cpu-core"), ReplicaKind("large", "H100", 2, 1)
PLACED = {SMALL: 2, LARGE: 1}
ROUTED = {"easy": {"small": 1.0}, "hard": {"small": 0.25, "large": 0.75}}
CASCADE = Route("medium", "small", 0.5, "large", -0.3)


def test_the_identity_of_a_plan_without_cascades_is_what_it_was() -> None:
    assert make_plan(PLACED, ROUTED).plan_id == "d525d9cc7a7b"


def test_cascades_and_their_thresholds_are_part_of_the_identity() -> None:
    other = Route("medium", "small", 0.5, "large", -0.4)
    plain = Route("medium", "small", 0.5)
    plans = [make_plan(PLACED, ROUTED, [route]) for route in (CASCADE, other, plain)]
    assert len({plan.plan_id for plan in plans}) == 3


def test_shares_are_of_the_model_asked_first() -> None:
    plan = make_plan(PLACED, {"medium": {"small": 0.3, "large": 0.2}}, [CASCADE])
    assert plan.shares("medium") == {"small": 0.8, "large": 0.2}
    assert plan.routes("medium") == (
        Route("medium", "large", 0.2),
        Route("medium", "small", 0.3),
        CASCADE,
    )
    assert plan.routes("easy") == ()
    assert plan.asked == {"small", "large"}


def test_cascades_without_a_share_are_left_out() -> None:
    assert make_plan(PLACED, ROUTED, [Route("easy", "small", 0.0, "large", -1.0)]) == make_plan(
        PLACED, ROUTED
    )


def test_plans_stored_before_there_were_cascades_are_read() -> None:
    stored = TypeAdapter(ServingPlan)
    plan = make_plan(PLACED, ROUTED)
    content = stored.dump_python(plan)
    for route in content["routing"]:
        del route["escalate_to"], route["threshold"]
    assert stored.validate_python(content) == plan
