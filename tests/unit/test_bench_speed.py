"""The benchmark of speed: that it measures what it says, not how fast this machine is."""

import argparse
import json

from core.entrypoints.bench import speed
from core.settings import load_settings


def test_a_small_run_has_every_figure_and_the_simulators_agree() -> None:
    parser = argparse.ArgumentParser()
    speed.add_arguments(parser)
    parsed = parser.parse_args(["--replicas", "9", "--requests", "900", "--runs", "2"])
    result = json.loads(json.dumps(speed.run(parsed, load_settings()), allow_nan=False))
    assert result["against_oracle"]["difference"] < 1e-9
    assert result["against_oracle"]["preemptions"] > 0
    assert result["fleet"]["requests"] == 900
    assert result["whatif"]["plans"] == 200
    for found in ("against_oracle", "fleet", "whatif"):
        times = result[found].get("times") or result[found]["fast"]
        for clock in ("clock", "cpu"):
            summary = times[clock]
            assert 0 < summary["least_ms"] <= summary["median_ms"] <= summary["p95_ms"]
    assert "900 requests" in speed.told(result)


def test_the_fleet_is_busy_but_keeps_up() -> None:
    replicas = speed.gpu_replicas(12)
    arrivals = speed.arrivals_for(replicas, 6000, 0.7)
    seen = speed.simulate(replicas, arrivals)
    early, late = seen.e2e_s[1500:3000].mean(), seen.e2e_s[4500:].mean()
    assert late < 1.5 * early
    assert set(arrivals.pool.tolist()) == {0, 1, 2}
