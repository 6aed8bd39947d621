"""The loop from inventory to bill: which steps are done, and what to do next. Pure functions."""

from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Facts:
    """How far the operator has come.

    Attributes:
        unpriced: Device types without a price.
        rated_models: Models whose quality was measured.
        front: Plans on the newest finished front.
        deployed: State of the wanted plan; empty without one.
        requests: Requests ever answered.
    """

    devices: int
    unpriced: tuple[str, ...]
    models: int
    profiles: int
    rated_models: int
    workloads: int
    front: int
    deployed: str
    requests: int
    busy: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the loop; `page` is a key of `ui.components.PAGES`."""

    title: str
    done: bool
    fact: str
    page: str


@dataclass(frozen=True, slots=True)
class NextAction:
    """The one thing to do next; `page` is empty where a button on the Overview does it."""

    title: str
    text: str
    page: str
    label: str


def steps(facts: Facts) -> list[Step]:
    """Return the loop's steps in order with a short fact each."""
    priced = facts.devices > 0 and not facts.unpriced
    return [
        Step("Inventory", priced, _count(facts.devices, "device"), "inventory"),
        Step("Profile", facts.profiles > 0, _count(facts.profiles, "profile"), "models"),
        Step("Quality", facts.rated_models > 0, _count(facts.rated_models, "model"), "workload"),
        Step("Traffic", facts.workloads > 0, _count(facts.workloads, "workload"), "workload"),
        Step("Optimise", facts.front > 0, f"{_count(facts.front, 'plan')} on front", "optimise"),
        Step("Deploy", facts.deployed == "active", facts.deployed or "nothing runs", "deploy"),
        Step("Route", facts.requests > 0, _count(facts.requests, "request"), "deploy"),
        Step("Bill", facts.requests > 0, "cost per token", "costs"),
    ]


def next_action(facts: Facts) -> NextAction:
    """Return the first thing that is missing."""
    action = next(action for missing, action in LADDER if missing(facts))
    return replace(action, text=action.text.format(unpriced=", ".join(facts.unpriced)))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


LADDER: tuple[tuple[Callable[[Facts], bool], NextAction], ...] = (
    (
        lambda f: f.busy,
        NextAction(
            "Work is under way",
            "Nothing to do until the jobs below are done; you may leave this page.",
            "models",
            "See all jobs",
        ),
    ),
    (
        lambda f: f.devices == 0,
        NextAction(
            "Waiting for the controller",
            "It reports this machine's devices within seconds of its start. If it does not "
            "run, start it with `boute up`.",
            "inventory",
            "Look at the inventory",
        ),
    ),
    (
        lambda f: f.models == 0,
        NextAction(
            "Start with the built-in fleet",
            "Two small language models come with BOute. One click measures how fast and how "
            "good they are on this machine, and searches for the best plans. It takes some "
            "minutes and needs neither internet nor an account.",
            "",
            "Start with the built-in fleet",
        ),
    ),
    (
        lambda f: bool(f.unpriced),
        NextAction(
            "Say what a device costs",
            "There is no price for {unpriced}; plans cannot be compared.",
            "inventory",
            "Set a price",
        ),
    ),
    (
        lambda f: f.profiles == 0,
        NextAction(
            "Measure how fast your models are",
            "A profile tells how many requests one replica answers, and how quickly.",
            "models",
            "Profile a model",
        ),
    ),
    (
        lambda f: f.rated_models == 0,
        NextAction(
            "Measure how good the answers are",
            "Score each model on queries with known answers.",
            "workload",
            "Score a model",
        ),
    ),
    (
        lambda f: f.workloads == 0,
        NextAction(
            "Describe your traffic",
            "How many requests of each class arrive per second?",
            "workload",
            "Describe a workload",
        ),
    ),
    (
        lambda f: f.front == 0,
        NextAction(
            "Search for good plans",
            "A study weighs cost, latency and quality of hundreds of plans.",
            "optimise",
            "Create a study",
        ),
    ),
    (
        lambda f: not f.deployed,
        NextAction(
            "Pick a plan and deploy it",
            "The Pareto front shows every plan that nothing else beats.",
            "optimise",
            "See the Pareto front",
        ),
    ),
    (
        lambda f: f.deployed != "active",
        NextAction(
            "The plan is rolling out",
            "Replicas are starting; requests flow once all are ready.",
            "deploy",
            "Watch it",
        ),
    ),
    (
        lambda f: f.requests == 0,
        NextAction(
            "Send a first request",
            "The plan is active. Ask the gateway something, or point your application to it.",
            "deploy",
            "Ask the gateway",
        ),
    ),
    (
        lambda _: True,
        NextAction(
            "The loop is closed",
            "Compare measured with predicted, and try what a change would do.",
            "whatif",
            "Try a what-if",
        ),
    ),
)
"""What may be missing, in the order of the loop; the last rung always holds."""
