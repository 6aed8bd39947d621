"""Which old replicas give way to new ones, and when, so that every class stays served. Pure.

With room for both plans nothing gives way before the new plan is complete (blue/green). Without,
replicas are exchanged a few at a time: first those that serve nobody, then those whose classes
others serve too, one that both plans have among them if need be: it is started again later. When
only a replica that a class depends on is left in the way, requests follow the new plan from then
on, if all its classes have a ready replica by now. If even that is not so, the replica goes all
the same, because the switch could never end otherwise.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from core.domain.deployment import Replica, ReplicaState
from core.domain.fleet import Device
from core.domain.plan import ReplicaKind, ServingPlan
from core.serving import ledger

# Of the replicas that serve, so many are exchanged at once: one, or this share.
AT_ONCE = 0.25


@dataclass(frozen=True, slots=True)
class Switch:
    """A roll-out as it stands.

    Attributes:
        current: The plan that requests follow; None when they are refused.
        desired: The plan to get to.
        kept: Wanted replicas that the desired plan has, in any state.
        surplus: Wanted live replicas that it does not have.
        needs: Kinds that wait for devices.
        free: Usable devices that nobody holds, or whose replica is leaving.
        usable: All devices that replicas may be placed on.
    """

    current: ServingPlan | None
    desired: ServingPlan
    kept: Sequence[Replica]
    surplus: Sequence[Replica]
    needs: Sequence[ReplicaKind]
    free: Sequence[Device]
    usable: Sequence[Device]

    @property
    def ready(self) -> list[Replica]:
        """Replicas that answer."""
        return [r for r in (*self.kept, *self.surplus) if r.state is ReplicaState.READY]


@dataclass(frozen=True, slots=True)
class Step:
    """What to do now.

    Attributes:
        victims: Surplus replicas that go.
        flip: Whether requests follow the desired plan from now on.
    """

    victims: tuple[Replica, ...] = ()
    flip: bool = False


def in_order(switch: Switch) -> list[ReplicaKind]:
    """Return the kinds that wait, in the order in which they get devices.

    First one of each model that answers requests now, but only from replicas that will go: once it
    is ready, the others may. Then one of each model that the new plan asks and nobody has: once
    they are ready, requests may follow it. Then the wide ones, for which room is hardest to find.
    """
    kept = {r.kind.model for r in switch.kept if r.state is not ReplicaState.PENDING}
    asked_now = switch.current.asked if switch.current else frozenset[str]()
    rest = sorted(switch.needs, key=lambda kind: (kind.devices, kind))
    first: list[ReplicaKind] = []
    for asked in (asked_now, switch.desired.asked):
        for kind in rest[:]:
            if kind.model in asked and kind.model not in kept:
                kept.add(kind.model)
                first.append(kind)
                rest.remove(kind)
    return first + sorted(rest, key=lambda kind: (-kind.devices, kind))


def arranged(pending: Collection[Replica], order: Sequence[ReplicaKind]) -> list[Replica]:
    """Return waiting replicas in such an order, older ones of a kind first."""
    waiting = sorted(pending, key=lambda r: r.created_at)
    found: list[Replica] = []
    for kind in order:
        one = next((r for r in waiting if r.kind == kind and r not in found), None)
        found += [one] if one else []
    return found + [r for r in waiting if r not in found]


def unserved(plan: ServingPlan | None, ready: Collection[Replica]) -> set[str]:
    """Return the query classes of a plan for which no route has all its models ready."""
    routing = plan.routing if plan else ()
    models = {"", *(r.kind.model for r in ready)}
    served = {r.query_class for r in routing if {r.model, r.escalate_to} <= models}
    return {route.query_class for route in routing} - served


def make_room(switch: Switch) -> Step:
    """Return the next step of a switch; an empty one means to wait for what is under way."""
    at_once = max(1, int(AT_ONCE * len(switch.ready)))
    moving = sum(r.state is ReplicaState.STARTING for r in switch.kept)
    victims: list[Replica] = []
    last_resort: Step | None = None
    for kind in in_order(switch):
        spot = ledger.choose(kind, switch.free)
        if spot is None:
            found = _in_the_way(kind, switch)
            if found and _harm(found, switch):
                last_resort = last_resort or Step(tuple(found), _may_flip(kind, switch))
                continue
            if not found or (_serving(found, switch) and moving >= at_once):
                continue
            victims += found
            switch = _without(found, switch)
            spot = ledger.choose(kind, switch.free)
        moving += 1
        switch = replace(switch, free=[d for d in switch.free if d not in (spot or ())])
    if moving or last_resort is None:
        return Step(tuple(victims))
    return Step(flip=True) if last_resort.flip else last_resort


def _may_flip(kind: ReplicaKind, switch: Switch) -> bool:
    """Whether room for a kind could be made if requests followed the new plan from now on."""
    new = replace(switch, current=switch.desired)
    victims = _on_one_node(kind, [*switch.surplus, *_movable(kind, switch)], new)
    if switch.current == switch.desired or victims is None:
        return False
    return not unserved(new.current, _without(victims, new).ready)


def _movable(kind: ReplicaKind, switch: Switch) -> list[Replica]:
    """Replicas that stay in the new plan and may move for a wider one.

    Of every model one stays where it is: it would be the first to get devices again, perhaps the
    very same ones.
    """
    ready = [r for r in switch.kept if r.state is ReplicaState.READY]
    staying = {r.kind.model: r for r in ready}.values()
    return [r for r in ready if r.kind.devices < kind.devices and r not in staying]


def _without(victims: Collection[Replica], switch: Switch) -> Switch:
    """The switch once replicas have gone."""
    ids = {i for r in victims for i in r.device_ids}
    return replace(
        switch,
        kept=[r for r in switch.kept if r not in victims],
        surplus=[r for r in switch.surplus if r not in victims],
        free=[*switch.free, *(d for d in switch.usable if d.device_id in ids)],
    )


def _in_the_way(kind: ReplicaKind, switch: Switch) -> list[Replica] | None:
    """Return the replicas whose devices, with free ones, are enough for a kind; least harm first.

    None when all of them together are not enough.
    """
    found = _on_one_node(kind, switch.surplus, switch)
    if found is not None and (not _harm(found, switch) or _may_flip(kind, switch)):
        return found
    other = _on_one_node(kind, [*switch.surplus, *_movable(kind, switch)], switch)
    if found is None or (other is not None and not _harm(other, switch)):
        return other
    return found


def _on_one_node(
    kind: ReplicaKind, candidates: Sequence[Replica], switch: Switch
) -> list[Replica] | None:
    found = []
    for node in sorted({d.node for d in switch.usable if d.sku == kind.sku}):
        ids = {d.device_id for d in switch.usable if d.node == node and d.sku == kind.sku}
        free = sum(d.device_id in ids for d in switch.free)
        ours = [r for r in candidates if ids.intersection(r.device_ids)]
        victims = _fewest(kind.devices - free, ours, ids, switch)
        if victims is not None:
            found.append(victims)
    return min(found, key=lambda victims: _price(victims, switch), default=None)


def _fewest(
    missing: int, ours: Sequence[Replica], ids: Collection[str], switch: Switch
) -> list[Replica] | None:
    """Take replicas until so many devices are free, then put back whom it does not need."""

    def gain(replicas: Collection[Replica]) -> int:
        return sum(i in ids for r in replicas for i in r.device_ids)

    taken: list[Replica] = []
    rest = list(ours)
    while gain(taken) < missing and rest:
        rest.sort(key=lambda r: _price([*taken, r], switch))
        taken.append(rest.pop(0))
    if gain(taken) < missing:
        return None
    for replica in reversed(taken[:]):
        others = [r for r in taken if r is not replica]
        if gain(others) >= missing:
            taken = others
    return taken


def _price(victims: Collection[Replica], switch: Switch) -> tuple[int, int, int, int, int]:
    """What it costs to let replicas go; the least is best.

    Among those that cost the same, who frees more of what is still needed.
    """
    moved = sum(r in switch.kept for r in victims)
    needed = sum(kind.devices for kind in switch.needs) - len(switch.free)
    useful = min(needed, sum(len(r.device_ids) for r in victims))
    costs = (_harm(victims, switch), moved, _serving(victims, switch), len(victims))
    return (*costs, -useful)


def _harm(victims: Collection[Replica], switch: Switch) -> int:
    """How many classes have an answer now and would have none."""
    after = [r for r in switch.ready if r not in victims]
    return len(unserved(switch.current, after)) - len(unserved(switch.current, switch.ready))


def _serving(victims: Collection[Replica], switch: Switch) -> int:
    """How many of them answer requests."""
    models = switch.current.asked if switch.current else ()
    return sum(r.state is ReplicaState.READY and r.kind.model in models for r in victims)
