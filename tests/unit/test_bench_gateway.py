"""The gateway's benchmark: what its figures are made of, and a short run of the fuzz."""

import argparse
from pathlib import Path
from typing import Any

import pytest

from core.entrypoints.bench import gateway, gateway_fuzz
from core.entrypoints.bench.gateway import Latency, added_ms, bars
from core.entrypoints.bench.gateway_stub import request
from core.errors import InvalidInput
from core.settings import Settings


def test_added_is_the_median_of_differences_round_by_round() -> None:
    direct = [Latency(1, 2, 10, 20), Latency(2, 3, 11, 21), Latency(9, 9, 90, 90)]
    through = [Latency(2, 4, 11, 22), Latency(4, 7, 13, 25), Latency(9, 9, 90, 90)]
    added = added_ms(direct, through)
    assert added == {"ttft_p50": 1, "ttft_p99": 2, "e2e_p50": 1, "e2e_p99": 2}


def measured(**changes: float) -> dict[str, Any]:
    ours = {"ttft_p50": 0.8, "ttft_p99": 4.0, "e2e_p50": 0.9, "e2e_p99": 3.0, **changes}
    theirs = {"ttft_p50": 0.5, "ttft_p99": 2.0, "e2e_p50": 0.5, "e2e_p99": 2.0}
    rates = {
        "boute": {"plain": 900.0, "stream": 500.0},
        "litellm": {"plain": 60.0, "stream": 51.0},
    }
    return {"added_ms": {"boute": ours, "vllm-router": theirs}, "requests_per_s": rates}


def test_bars() -> None:
    met = bars(measured())
    assert met == {
        "added p50 <= 1 ms": True,
        "added p99 <= 5 ms": True,
        "added p50 <= 2 x vllm-router": True,
        "requests/s >= 10 x LiteLLM, plain": True,
        "requests/s >= 10 x LiteLLM, stream": False,
    }
    assert not bars(measured(e2e_p50=1.01))["added p50 <= 1 ms"]
    assert not bars(measured(ttft_p99=5.1))["added p99 <= 5 ms"]
    alone = {"added_ms": {"boute": measured()["added_ms"]["boute"]}, "requests_per_s": {}}
    assert len(bars(alone)) == 2


def test_the_stub_reads_requests_as_gateways_send_them() -> None:
    plain = b"POST /x HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
    chunked = b"POST /x HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    for whole in (plain, chunked):
        for cut in range(len(whole)):
            assert request(whole[:cut]) is None
        found = request(whole + b"NEXT")
        assert found is not None
        assert found[2] == b"NEXT"
        assert b"{}" in found[1]


def test_a_peer_that_is_not_there(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    gateway.add_arguments(parser)
    parsed = parser.parse_args(["--litellm", str(tmp_path / "litellm")])
    with pytest.raises(InvalidInput, match="no program"):
        gateway.run(parsed, Settings(home=tmp_path, database_url=""))


def test_a_short_fuzz(tmp_path: Path) -> None:
    parsed = argparse.Namespace(cases=150, seed=7)
    result = gateway_fuzz.run(parsed, Settings(home=tmp_path, database_url=""))
    assert result["faults"] == []
    assert result["serves_afterwards"]
    assert sum(result["statuses"].values()) == 150
    assert result["statuses"].get("200", 0) > 0
    assert "memory" in gateway_fuzz.told(result)
