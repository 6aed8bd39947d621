"""The Overview's one next thing, from nothing to a closed loop."""

from dataclasses import replace

import pytest

from ui.loop import Facts, next_action, steps

NOTHING = Facts(
    devices=0,
    unpriced=(),
    models=0,
    profiles=0,
    rated_models=0,
    workloads=0,
    front=0,
    deployed="",
    requests=0,
    busy=False,
)
WAY = [
    ({}, "Waiting for the controller"),
    ({"devices": 2, "unpriced": ("cpu-core",)}, "Start with the built-in fleet"),
    ({"models": 2}, "Say what a device costs"),
    ({"unpriced": ()}, "Measure how fast your models are"),
    ({"profiles": 2}, "Measure how good the answers are"),
    ({"rated_models": 2}, "Describe your traffic"),
    ({"workloads": 1}, "Search for good plans"),
    ({"front": 9}, "Pick a plan and deploy it"),
    ({"deployed": "rolling"}, "The plan is rolling out"),
    ({"deployed": "active"}, "Send a first request"),
    ({"requests": 3}, "The loop is closed"),
]


def test_each_step_leads_to_the_next() -> None:
    facts, titles = NOTHING, []
    for news, _ in WAY:
        facts = replace(facts, **news)
        titles.append(next_action(facts).title)
    assert titles == [title for _, title in WAY]
    assert all(step.done for step in steps(facts))


@pytest.mark.parametrize("deployed", ["", "active"])
def test_active_jobs_come_first(deployed: str) -> None:
    facts = replace(NOTHING, devices=2, deployed=deployed, busy=True)
    assert next_action(facts).title == "Work is under way"


def test_nothing_is_done_in_an_empty_dashboard() -> None:
    assert not any(step.done for step in steps(NOTHING))
