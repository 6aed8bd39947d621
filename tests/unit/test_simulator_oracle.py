"""What happens to a few requests, worked out by hand; both simulators must say so."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from core.domain.profile import EngineLimits, StepTime
from core.errors import InvalidInput
from core.estimate.simulator import Arrivals, EngineSpec, Timeline, simulate
from core.estimate.simulator.oracle import simulate_slowly
from tests.unit.simulator_instances import requests

Simulation = Callable[[list[EngineSpec], Arrivals], Timeline]
SECOND = StepTime(1.0, 0.0, 0.0, 0.0)
"""Every step takes a second, whatever it does."""


@pytest.fixture(params=[simulate_slowly, simulate], ids=["slow", "fast"])
def play(request: pytest.FixtureRequest) -> Simulation:
    return request.param


def engine(
    step: StepTime = SECOND,
    *,
    seqs: int = 8,
    tokens: int = 100,
    blocks: int = 1000,
    block_size: int = 1,
    pool: int = 0,
    devices: int = 1,
) -> EngineSpec:
    return EngineSpec(pool, devices, step, EngineLimits(seqs, tokens, blocks, block_size))


def saw(timeline: Timeline, ttft_s: Sequence[float], e2e_s: Sequence[float]) -> None:
    np.testing.assert_allclose(timeline.ttft_s, ttft_s, rtol=1e-12)
    np.testing.assert_allclose(timeline.e2e_s, e2e_s, rtol=1e-12)


def test_one_request_pays_every_part_of_the_step_time(play: Simulation) -> None:
    step = StepTime(1.0, 0.1, 0.01, 0.001, per_request_s=0.5, overhead_s=7.0)
    seen = play([engine(step)], requests([3.0], [4], [3]))
    first_s = 1.0 + 0.1 + 0.5 + 4 * 0.001
    # The two further tokens attend to 4 and 5 tokens of context.
    saw(seen, [first_s + 7], [first_s + 2 * (1.0 + 0.1) + (4 + 5) * 0.01 + 7])


def test_a_prompt_longer_than_a_step_is_chunked(play: Simulation) -> None:
    step = StepTime(1.0, 0.0, 0.0, 1.0, per_request_s=10.0)
    seen = play([engine(step, seqs=2, tokens=2)], requests([0.0], [5], [1]))
    saw(seen, [(1 + 2 + 10) + (1 + 2) + (1 + 1)], [18.0])


def test_decoding_comes_before_chunks(play: Simulation) -> None:
    step = StepTime(1.0, 0.0, 0.0, 1.0)
    seen = play([engine(step, tokens=4, seqs=4)], requests([0.0, 0.5], [1, 6], [9, 1]))
    # 2 s: first token of the first. Then three tokens of the second beside each token of it.
    saw(seen, [2.0, 2 + 4 + 4 - 0.5], [2 + 4 + 4 + 6, 9.5])


def test_one_waits_while_the_batch_is_full(play: Simulation) -> None:
    seen = play([engine(seqs=1)], requests([0.0, 0.25, 0.5], [3, 3, 3], [2, 1, 2]))
    saw(seen, [1.0, 3 - 0.25, 4 - 0.5], [2.0, 2.75, 5 - 0.5])


def test_one_that_arrives_when_a_step_begins_is_in_it(play: Simulation) -> None:
    seen = play([engine()], requests([0.0, 2.0, 2.5], [1, 1, 1], [9, 1, 1]))
    saw(seen, [1.0, 1.0, 1.5], [9.0, 1.0, 1.5])


def test_the_last_admitted_is_preempted_and_computed_again(play: Simulation) -> None:
    step = StepTime(1.0, 0.0, 0.0, 0.25, per_request_s=0.125)
    seen = play([engine(step, blocks=5)], requests([0.0, 0.0], [2, 2], [3, 3]))
    together_s = 1 + 4 * 0.25 + 2 * 0.125  # 4 of 5 blocks; each has a token more to store
    alone_s = 2 * 1.0  # the first takes the last block, so the second has to go
    again_s = 1 + 3 * 0.25 + 0.125  # its prompt and its first token, begun anew
    first_s = together_s + alone_s
    saw(seen, [together_s] * 2, [first_s, first_s + again_s + 1.0])
    assert seen.preemptions.tolist() == [0, 1]


def test_nobody_is_admitted_in_a_step_that_preempts(play: Simulation) -> None:
    arrivals = requests([0.0, 0.0, 0.5], [2, 2, 1], [3, 3, 1])
    seen = play([engine(blocks=5)], arrivals)
    # Step 2 preempts the second, which then stands before the third until the first is done.
    saw(seen, [1.0, 1.0, 4 - 0.5], [3.0, 5.0, 3.5])


def test_an_unfinished_prompt_is_preempted_first(play: Simulation) -> None:
    arrivals = requests([0.0, 0.5], [2, 4], [4, 1])
    seen = play([engine(tokens=3, seqs=3, blocks=7)], arrivals)
    # At 1 s it holds 3 blocks, and 2 of the 4 others are a prompt's; at 2 s 4: too many for both.
    saw(seen, [1.0, 6 - 0.5], [4.0, 5.5])
    assert seen.preemptions.tolist() == [0, 1]


def test_blocks_are_taken_whole(play: Simulation) -> None:
    arrivals = requests([0.0, 0.0], [4, 4], [2, 2])
    # Four tokens fill a block of four; the fifth needs another: with two only one can go on.
    saw(play([engine(blocks=2, block_size=4)], arrivals), [1.0, 1.0], [2.0, 3.0])
    saw(play([engine(blocks=4, block_size=4)], arrivals), [1.0, 1.0], [2.0, 2.0])


def test_cached_tokens_cost_neither_time_nor_blocks(play: Simulation) -> None:
    step = StepTime(0.0, 0.0, 1.0, 1.0)
    arrivals = requests([0.0], [5], [2], cached_tokens=[4])
    saw(play([engine(step, blocks=2)], arrivals), [1.0], [1 + 5])


def test_ties_take_turns(play: Simulation) -> None:
    arrivals = requests([0.0, 0.0, 0.0, 0.0, 50.0], [1] * 5, [9] * 5)
    seen = play([engine(), engine(), engine()], arrivals)
    assert seen.replica.tolist() == [0, 1, 2, 0, 1]


def test_larger_replicas_are_given_more(play: Simulation) -> None:
    arrivals = requests([0.0] * 6, [1] * 6, [9] * 6)
    seen = play([engine(), engine(devices=2)], arrivals)
    # Loads before each: 0 0, 1 0, 1 1/2, 1 1 (its turn is the second's), 1 3/2, 2 3/2.
    assert seen.replica.tolist() == [0, 1, 1, 1, 0, 1]


def test_an_answer_counts_until_its_very_last_moment(play: Simulation) -> None:
    arrivals = requests([0.0, 0.0, 3.0], [1, 1, 1], [2, 3, 1])
    assert play([engine(), engine()], arrivals).replica.tolist() == [0, 1, 0]
    arrivals = requests([0.0, 0.0, 1.75], [1, 1, 1], [9, 2, 1])
    assert play([engine(), engine()], arrivals).replica.tolist() == [0, 1, 0]
    arrivals = requests([0.0, 0.0, 2.0], [1, 1, 1], [9, 2, 1])
    assert play([engine(), engine()], arrivals).replica.tolist() == [0, 1, 1]


def test_pools_do_not_meet(play: Simulation) -> None:
    arrivals = requests([0.0] * 4, [1] * 4, [2] * 4, pool=[4, -3, 4, 9])
    seen = play([engine(pool=-3), engine(pool=4), engine(pool=4)], arrivals)
    assert seen.replica.tolist() == [1, 0, 2, -1]
    saw(seen, [1.0, 1.0, 1.0, np.nan], [2.0, 2.0, 2.0, np.nan])


def test_one_that_can_never_fit_is_refused_and_holds_up_nobody(play: Simulation) -> None:
    arrivals = requests([0.0, 0.0, 0.0], [4, 4, 3], [2, 3, 3])
    seen = play([engine(blocks=5)], arrivals)
    # Without its last token the second would still need six blocks of five.
    saw(seen, [1.0, np.nan, 3.0], [2.0, np.nan, 5.0])
    assert seen.replica.tolist() == [0, 0, 0]


def test_nothing_arrives_and_nobody_answers(play: Simulation) -> None:
    assert len(play([engine()], requests([], [], [])).e2e_s) == 0
    assert play([], requests([0.0], [1], [1])).replica.tolist() == [-1]


@pytest.mark.parametrize(
    "broken",
    [
        {"seqs": 0},
        {"seqs": 9, "tokens": 8},
        {"block_size": 0},
        {"blocks": -1},
        {"devices": 0},
        {"step": StepTime(-1e-9, 0, 0, 0)},
        {"step": StepTime(0, 0, 0, float("nan"))},
        {"step": StepTime(0, 0, 0, 0, overhead_s=float("inf"))},
    ],
)
def test_what_no_engine_has_is_refused(broken: dict[str, float]) -> None:
    with pytest.raises(InvalidInput):
        engine(**broken)


def test_a_second_call_arrives_when_the_first_answer_is_with_the_client(play: Simulation) -> None:
    """Two steps of .01 s on the first replica and .002 s outside; then three of .1 s."""
    limits = EngineLimits(4, 64, 500, 16)
    first = EngineSpec(0, 1, StepTime(0.01, 0, 0, 0, 0, 0.002), limits)
    second = EngineSpec(1, 1, StepTime(0.1, 0, 0, 0), limits)
    arrivals = Arrivals(
        np.array([1.0, 1.0, 9.0]),
        np.array([5, 5, 5]),
        np.array([2, 2, 3]),
        np.array([0, 1, 1]),
        np.zeros(3, dtype=np.int64),
        np.array([-1, -1, 0]),
    )
    seen = play([first, second], arrivals)
    # The other call to the second replica is in its first step until 1.1 s.
    waited_s = 1.1 - (1.0 + 0.022)
    assert seen.e2e_s == pytest.approx([0.022, 0.2, waited_s + 0.3])
    assert seen.ttft_s == pytest.approx([0.012, 0.1, waited_s + 0.1])
    assert seen.replica.tolist() == [0, 1, 1]
