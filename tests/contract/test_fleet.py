"""Devices, prices, models: the same promises from every unit of work."""

from dataclasses import replace

from core.ports import UnitOfWorkFactory
from tests.contract import samples


def test_devices_come_back_by_node_and_index(any_uow: UnitOfWorkFactory) -> None:
    devices = [
        samples.device("b", node="node1", index=0),
        samples.device("c", node="node0", index=10, utilisation=None, power_w=61.5),
        samples.device("a", node="node0", index=2, note="MIG is on"),
    ]
    with any_uow() as work:
        work.devices.upsert(devices)
        work.commit()
    with any_uow() as work:
        assert work.devices.all() == [devices[2], devices[1], devices[0]]


def test_a_probe_refreshes_a_device_but_not_the_operators_switch(
    any_uow: UnitOfWorkFactory,
) -> None:
    device = samples.device()
    with any_uow() as work:
        work.devices.upsert([device])
        assert work.devices.set_enabled(device.device_id, False)
        work.commit()
    seen_again = replace(device, memory_used_bytes=7, seen_at=samples.later(1), enabled=True)
    with any_uow() as work:
        work.devices.upsert([seen_again])
        work.commit()
    with any_uow() as work:
        assert work.devices.all() == [replace(seen_again, enabled=False)]


def test_a_device_seen_twice_in_one_look_is_one(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as work:
        work.devices.upsert([samples.device(), samples.device(memory_used_bytes=9)])
        assert work.devices.all() == [samples.device(memory_used_bytes=9)]


def test_switching_an_unknown_device_says_so(any_uow: UnitOfWorkFactory) -> None:
    with any_uow() as work:
        assert not work.devices.set_enabled("nobody", True)
        work.devices.upsert([])
        assert work.devices.all() == []


def test_prices_keep_their_history_oldest_first(any_uow: UnitOfWorkFactory) -> None:
    newer, older, other = samples.price(0.5, 2), samples.price(0.4, 1), samples.price(9.0, 1, "H")
    with any_uow() as work:
        for price in (newer, older, other, older):
            work.prices.add(price)
        work.commit()
    with any_uow() as work:
        assert work.prices.all() == [older, other, older, newer]


def test_models_are_replaced_found_listed_and_removed(any_uow: UnitOfWorkFactory) -> None:
    small, large = samples.model("small"), samples.model("large", trust_remote_code=True)
    with any_uow() as work:
        work.models.save(samples.model("small", path="/old"))
        work.models.save(small)
        work.models.save(large)
        work.commit()
    with any_uow() as work:
        assert work.models.all() == [large, small]
        assert work.models.get("small") == small
        assert work.models.get("medium") is None
        assert work.models.remove("small")
        assert not work.models.remove("small")
        work.commit()
    with any_uow() as work:
        assert work.models.all() == [large]
