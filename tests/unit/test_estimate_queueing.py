"""Queueing against closed formulas and a discrete-event simulation."""

import math

import numpy as np
import pytest

from core.domain.plan import ReplicaKind
from core.domain.workload import ClassTraffic
from core.estimate.mixture import LognormalMixture
from core.estimate.queueing import pool_latency
from core.estimate.speed import KindSpeed, compile_profile, log_spread
from tests.unit.planning_problems import level, profile, spread

MIX = np.array([1.0])


def speed(concurrency: list[float], e2e_s: list[float], sigma: float = 0.3) -> KindSpeed:
    levels = np.array(concurrency)
    times = np.array(e2e_s)[:, None]
    same = np.full(len(levels), sigma)
    return KindSpeed(levels, times * 0.1, times, np.ones(len(levels)), same, same)


def mean_e2e_s(found) -> float:
    return float(found.weight @ found.e2e_s[:, 0])


@pytest.mark.parametrize("load", [0.1, 0.5, 0.9])
def test_one_request_at_a_time_is_m_m_1(load: float) -> None:
    # Throughput stays 10/s however many are held: processor sharing of one server.
    server = speed([1, 2, 4, 8], [0.1, 0.2, 0.4, 0.8])
    found = pool_latency(server, 1, load * 10, MIX)
    assert mean_e2e_s(found) == pytest.approx(0.1 / (1 - load), rel=0.01)


@pytest.mark.parametrize("load", [0.3, 0.7, 0.9])
def test_batches_that_cost_nothing_are_m_m_c(load: float) -> None:
    servers, service_s = 8, 0.5
    batch = speed([1, servers], [service_s, service_s])
    rate = load * servers / service_s
    found = pool_latency(batch, 1, rate, MIX)
    offered = rate * service_s
    below = sum(offered**n / math.factorial(n) for n in range(servers))
    at = offered**servers / math.factorial(servers) / (1 - load)
    wait_s = at / (below + at) * service_s / (servers * (1 - load))
    assert mean_e2e_s(found) == pytest.approx(service_s + wait_s, rel=0.01)


def test_replicas_of_a_pool_share_the_load() -> None:
    one = speed([1, 16], [0.1, 0.4])
    alone, pooled = pool_latency(one, 1, 20, MIX), pool_latency(one, 4, 80, MIX)
    assert mean_e2e_s(pooled) < mean_e2e_s(alone)
    assert mean_e2e_s(pooled) >= 0.1


def test_overload_has_no_latency() -> None:
    assert pool_latency(speed([1, 4], [0.1, 0.2]), 2, 40.0, MIX) is None


def test_weights_sum_to_one_near_saturation() -> None:
    found = pool_latency(speed([1, 4], [0.1, 0.2]), 1, 19.99, MIX)
    assert found.weight.sum() == pytest.approx(1)
    assert np.all(np.isfinite(found.e2e_s))


def simulate(server: KindSpeed, replicas: int, rate: float, n: int, seed: int) -> np.ndarray:
    """Least-outstanding dispatch to processor-sharing replicas with Poisson arrivals."""
    rng = np.random.default_rng(seed)
    sigma = float(server.e2e_sigma[0])
    arrivals = np.cumsum(rng.exponential(1 / rate, n))
    demand = rng.lognormal(-(sigma**2) / 2, sigma, n)
    held: list[dict[int, float]] = [{} for _ in range(replicas)]
    done, now, i = np.zeros(n), 0.0, 0
    top = server.concurrency[-1]

    def pace(count: int) -> float:
        """Part of a whole answer that one request gets per second."""
        e2e_s = np.interp(min(count, top), server.concurrency, server.e2e_s[:, 0])
        return min(1.0, top / count) / float(e2e_s)

    while i < n or any(held):
        ends = [
            (now + min(left.values()) / pace(len(left)), r) for r, left in enumerate(held) if left
        ]
        next_end = min(ends, default=(math.inf, -1))
        moment = min(next_end[0], arrivals[i] if i < n else math.inf)
        for left in held:
            if left:
                step = (moment - now) * pace(len(left))
                for job in left:
                    left[job] -= step
        now = moment
        if i < n and moment == arrivals[i]:
            min(held, key=len)[i] = float(demand[i])
            i += 1
        else:
            left = held[next_end[1]]
            job = min(left, key=left.get)
            done[job] = now - arrivals[job]
            del left[job]
    return done[n // 10 :]


@pytest.mark.parametrize(("replicas", "load"), [(1, 0.5), (1, 0.85), (3, 0.7)])
def test_mean_and_p95_agree_with_a_simulation(replicas: int, load: float) -> None:
    server = speed([1, 4, 8], [0.1, 0.16, 0.24])
    rate = load * replicas * server.capacity_rps(MIX)
    times_s = simulate(server, replicas, rate, 6000, seed=3)
    found = pool_latency(server, replicas, rate, MIX)
    mixture = LognormalMixture(found.weight, found.e2e_s[:, 0], found.e2e_sigma)
    p95_s = mixture.quantiles_s([0.95])[0]
    assert mean_e2e_s(found) == pytest.approx(times_s.mean(), rel=0.12)
    assert p95_s == pytest.approx(np.quantile(times_s, 0.95), rel=0.15)


def test_quantiles_of_a_mixture_agree_with_a_sample() -> None:
    rng = np.random.default_rng(0)
    weight, mean, sigma = np.array([0.7, 0.3]), np.array([0.2, 2.0]), np.array([0.3, 0.1])
    which = rng.choice(2, size=200_000, p=weight)
    sample = rng.lognormal(np.log(mean[which]) - sigma[which] ** 2 / 2, sigma[which])
    mixture = LognormalMixture(weight, mean, sigma)
    for share in (0.5, 0.9, 0.95):
        time_s = mixture.quantiles_s([share])[0]
        assert time_s == pytest.approx(np.quantile(sample, share), rel=0.01)
        assert mixture.share_within(time_s) == pytest.approx(share, abs=1e-3)


def test_a_profile_at_its_own_length_gives_its_own_throughput() -> None:
    measured = profile(ReplicaKind("m", "g"), 5.0)
    compiled = compile_profile(measured, [ClassTraffic("a", 1, 20, 40)], [40.0])
    best = max(x.requests_per_s for x in measured.levels)
    assert compiled.capacity_rps(MIX) == pytest.approx(best)


def test_longer_answers_take_longer_and_shorter_prompts_gain_nothing() -> None:
    measured = profile(ReplicaKind("m", "g"), 5.0)

    def e2e_s(prompt: float, tokens: float) -> float:
        return compile_profile(measured, [ClassTraffic("a", 1, prompt, 40)], [tokens]).e2e_s[0, 0]

    assert e2e_s(20, 80) == pytest.approx(e2e_s(20, 40) + 0.005 * 40)
    assert e2e_s(1, 40) == e2e_s(20, 40) < e2e_s(200, 40)


def test_spread_between_classes_is_not_counted_twice() -> None:
    # All of the measured spread comes from two classes of different length.
    tokens = np.array([20.0, 80.0])
    one = level(1, 1.0, 5.0, tokens=50.0, sigma=float(np.std(np.log(tokens))))
    measured = profile(ReplicaKind("m", "g"), 5.0)
    measured = type(measured)(**{**_fields(measured), "levels": (one,)})
    classes = [ClassTraffic("short", 1, 20, 20), ClassTraffic("long", 1, 20, 80)]
    compiled = compile_profile(measured, classes, list(tokens))
    assert compiled.e2e_sigma[0] < 0.2 * log_spread(one.e2e_ms)


def _fields(value: object) -> dict[str, object]:
    return {name: getattr(value, name) for name in value.__slots__}


def test_spread_of_degenerate_times_is_small_not_an_error() -> None:
    assert 0 < log_spread(spread(0.0, 0.1)) < 0.05
