"""What cannot be is refused with its place and a hint; nothing else ever escapes the parser."""

import copy
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.domain.profile import LoadLevel, Profile, Provenance
from core.errors import InvalidInput
from core.importing.formats import ImportedProfiles, parse_many, parse_profiles
from core.settings import REPOSITORY

FIXTURES = REPOSITORY / "tests" / "fixtures" / "imports"
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
HEADER = (
    "model,gpu,concurrency,rate_rps,input_tokens,output_tokens,ttft_ms,ttft_ms_p95,ttft_ms_p99,"
    "tpot_ms,e2e_ms,throughput_tok_s,requests"
)
GOOD = {
    "model": "m",
    "gpu": "g",
    "concurrency": "4",
    "rate_rps": "",
    "input_tokens": "200",
    "output_tokens": "101",
    "ttft_ms": "80",
    "ttft_ms_p95": "120",
    "ttft_ms_p99": "150",
    "tpot_ms": "20",
    "e2e_ms": "2080",
    "throughput_tok_s": "194",
    "requests": "50",
}


def table(*changes: dict[str, str], header: str = HEADER) -> bytes:
    rows = [",".join({**GOOD, **change}[name] for name in HEADER.split(",")) for change in changes]
    return "\n".join([header, *rows]).encode()


def refused(content: bytes, name: str = "t.csv", **kwargs: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as error:
        parse_profiles(content, name, now=NOW, **kwargs)
    assert error.value.hint
    return error.value


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ttft_ms": "abc"}, "not a number"),
        ({"ttft_ms": "1_000"}, "not a number"),
        ({"ttft_ms": "nan"}, "not a number"),
        ({"ttft_ms": "80 ms"}, "not a number"),
        ({"ttft_ms": "-80"}, "cannot be"),
        ({"ttft_ms": "1e99"}, "cannot be"),
        ({"input_tokens": ""}, "input_tokens is empty"),
        ({"output_tokens": "0"}, "output_tokens is 0"),
        ({"output_tokens": "0.5"}, "no answers"),
        ({"concurrency": ""}, "no load"),
        ({"rate_rps": "2"}, "concurrency and rate_rps"),
        ({"concurrency": "2.5"}, "not a whole number"),
        ({"concurrency": "0"}, "in flight cannot be"),
        ({"model": ""}, "which model"),
        ({"gpu": ""}, "which device type"),
        ({"e2e_ms": "40"}, "before the first token"),
        ({"e2e_ms": "90000"}, "far from TTFT"),
        ({"ttft_ms": "0.08", "ttft_ms_p95": "", "ttft_ms_p99": ""}, "250 times TTFT"),
        ({"tpot_ms": "0"}, "a time of zero"),
        ({"ttft_ms_p95": "200"}, "above p99"),
        ({"throughput_tok_s": "600"}, "requests in flight; 6 were kept"),
        ({"throughput_tok_s": "60"}, "requests in flight; 6 were kept"),
        ({"requests": "0"}, "no request succeeded"),
        ({"ttft_ms": "", "ttft_ms_p95": "", "ttft_ms_p99": "", "tpot_ms": ""}, "not enough"),
        ({"concurrency": "", "rate_rps": "0.5"}, "only 0.5 arrived"),
    ],
)
def test_a_bad_row_is_named_as_a_spreadsheet_numbers_it(change: dict[str, str], says: str) -> None:
    # Row 1 is the header, 2 and 3 are good, the empty line is row 4.
    content = table({}, {"concurrency": "5"}) + b"\n\n"
    content += table({"concurrency": "6", **change}).split(b"\n")[1]
    error = refused(content)
    assert error.message.startswith("t.csv, row 5")
    assert says in error.message


def test_a_line_break_inside_quotes_does_not_shift_the_rows() -> None:
    content = table({"model": '"m\n"'}, {"tpot_ms": "x"})
    assert refused(content).message.startswith("t.csv, row 3")


def test_the_good_table_is_good() -> None:
    assert parse_profiles(table({}), "t.csv", now=NOW).profiles[0].levels[0].concurrency == 4


def test_a_load_given_twice_is_refused_with_both_rows() -> None:
    error = refused(table({}, {"concurrency": "5"}, {"e2e_ms": "2100"}))
    assert error.message.startswith("t.csv, row 4")
    assert "row 2" in error.message


def test_throughput_that_breaks_down_and_recovers_is_refused() -> None:
    slow = {"ttft_ms": "", "ttft_ms_p95": "", "ttft_ms_p99": "", "throughput_tok_s": ""}
    rows = [
        {"concurrency": "4"},
        {**slow, "concurrency": "8", "tpot_ms": "150", "e2e_ms": "16000"},
        {"concurrency": "16", "throughput_tok_s": ""},
    ]
    error = refused(table(*rows))
    assert error.message.startswith("t.csv, row 3")
    assert "row 4" in error.message
    declining = parse_profiles(table(*rows[:2]), "t.csv", now=NOW)
    assert len(declining.profiles[0].levels) == 2


@pytest.mark.parametrize(
    ("header", "says", "hint"),
    [
        (HEADER.replace("ttft_ms,", "ttft,"), "'ttft' is not understood", "ttft_ms"),
        (HEADER.replace("e2e_ms", "latency_s"), "'latency_s'", "latency_s to e2e_s"),
        (HEADER.replace("gpu", "hardware"), "'gpu' is missing", "hardware to gpu"),
        (HEADER.replace("output_tokens", "osl"), "'output_tokens'", "osl to output_tokens"),
        (HEADER.replace("concurrency", "users").replace("rate_rps", "r"), "the load", "header"),
        (HEADER.replace("tpot_ms,e2e_ms", "a,b"), "a time", "header"),
        (HEADER.replace("e2e_ms", "tpot_s"), "the same figure", "Keep one"),
        (HEADER.replace("requests", "model"), "there twice", "Keep one"),
        (HEADER.replace(",", ";"), "is missing", "commas"),
    ],
)
def test_a_header_that_is_not_understood_is_refused(header: str, says: str, hint: str) -> None:
    error = refused(table({}, header=header))
    assert "row 1" in error.message
    assert says in error.message
    assert hint in error.hint


def test_a_decimal_comma_is_refused_with_a_hint() -> None:
    error = refused(table({"requests": "50,5"}))
    assert "row 2 has 14 cells" in error.message
    assert "decimal comma" in error.hint


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        (b"", "a.csv", "empty"),
        (b"\xff\xfe\x00", "a.csv", "UTF-8"),
        (b"{", "a.json", "begins like JSON"),
        (b"{}", "a.json", "not of a tool"),
        (b"[1, 2]", "a.json", "not of a tool"),
        (b"[" * 100_000, "a.json", "begins like JSON"),
        (b'{"gpu_info": {"A10G": {"cost": 1, "tputs": [[1]]}}}', "m.json", "without the lengths"),
        (b'{"metadata": {}, "metrics": {}}', "p.jsonl", "not of a tool"),
        (b"Metric,avg,min\nTTFT (ms),1,1\n", "e.csv", "AIPerf's CSV"),
    ],
)
def test_files_of_nobody_are_refused(content: bytes, name: str, says: str) -> None:
    assert says in refused(content, name).message


@pytest.mark.parametrize(
    ("name", "path", "value", "says"),
    [
        ("vllm_bench_4.json", ["mean_ttft_ms"], "60", "mean_ttft_ms is '60', not a number"),
        ("vllm_bench_4.json", ["mean_ttft_ms"], -1, "cannot be"),
        ("vllm_bench_4.json", ["completed"], 0, "nothing was measured"),
        ("vllm_bench_4.json", ["max_concurrency"], 1, "1 were kept"),
        ("vllm_bench_4.json", ["ramp_up_strategy"], "linear", "ramped up"),
        ("vllm_bench_4.json", ["tp"], "two", "tp is 'two'"),
        ("vllm_bench_4.json", ["gpu"], "", "which device type"),
        (
            "guidellm_0_8.json",
            ["benchmarks", 1, "metrics", "request_latency", "successful", "mean"],
            1872.0,
            "benchmarks[1]: E2E",
        ),
        (
            "guidellm_0_8.json",
            ["benchmarks", 0, "config", "strategy", "type_"],
            "sweep",
            "benchmarks[0].config.strategy.type_ is 'sweep'",
        ),
        ("aiperf_1_4.json", ["was_cancelled"], True, "not completed"),
        ("aiperf_1_4.json", ["request_latency", "unit"], "ticks", "'ticks'"),
        ("aiperf_1_4.json", ["time_to_first_token"], {"unit": "s", "avg": 80.0}, "first token"),
        ("throughput_grid.json", ["tputs", 1, 1], 70.0, "tputs[1][1] is 70"),
        ("throughput_grid.json", ["tputs"], [[1, 2], [1, 2]], "is 2 x 2"),
        ("throughput_grid.json", ["indexes", 0], [64, 16, 256], "no rising list"),
        ("throughput_grid.json", ["tputs"], [[0, 0, 0]] * 3, "0 cells"),
    ],
)
def test_a_bad_figure_is_named_by_its_path(
    name: str, path: list[Any], value: object, says: str
) -> None:
    document = json.loads((FIXTURES / name).read_text())
    inside = document
    for step in path[:-1]:
        inside = inside[step]
    inside[path[-1]] = value
    gpu = "" if name.startswith("vllm") else "X"
    error = refused(json.dumps(document).encode(), name, gpu=gpu, model="m")
    assert error.message.startswith(name)
    assert says in error.message


def test_files_of_two_tools_are_refused() -> None:
    names = ("vllm_bench_4.json", "profile.csv")
    files = [(name, (FIXTURES / name).read_bytes()) for name in names]
    with pytest.raises(InvalidInput, match="profile CSV, the first file of vllm"):
        parse_many(files, now=NOW)


def test_too_many_and_too_large_files_are_refused() -> None:
    with pytest.raises(InvalidInput, match="0 files"):
        parse_many([], now=NOW)
    with pytest.raises(InvalidInput, match="larger than 20 MiB"):
        parse_profiles(b" " * (20 * 2**20 + 1), "a.csv", now=NOW)
    with pytest.raises(InvalidInput, match="together"):
        parse_many([("a.csv", b" " * 2**20)] * 65, now=NOW)


def parse_or_refuse(content: bytes, **kwargs: str) -> ImportedProfiles | None:
    try:
        found = parse_profiles(content, "f", now=NOW, **kwargs)
    except InvalidInput:
        return None
    for profile in found.profiles:
        assert_sound(profile)
    return found


def assert_sound(profile: Profile) -> None:
    assert profile.provenance is Provenance.IMPORTED
    assert profile.model
    assert profile.sku
    json.dumps([_numbers(level) for level in profile.levels], allow_nan=False)
    for level in profile.levels:
        assert level.requests > 0
        assert level.duration_s > 0
        assert 1 <= level.concurrency <= 100_000
        for times in (level.ttft_ms, level.tpot_ms, level.e2e_ms):
            assert 0 <= times.p50 <= times.p95 <= times.p99


def _numbers(level: LoadLevel) -> list[float]:
    spreads = (level.ttft_ms, level.tpot_ms, level.e2e_ms)
    of_spreads = [x for s in spreads for x in (s.mean, s.p50, s.p95, s.p99)]
    return [*of_spreads, level.duration_s, level.input_tokens_mean, level.output_tokens_mean]


@given(st.binary(max_size=300))
def test_any_bytes_are_parsed_or_refused(content: bytes) -> None:
    parse_or_refuse(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
NAMES = sorted(path.name for path in FIXTURES.glob("*.json"))


@given(st.data())
def test_any_change_of_a_good_file_is_parsed_or_refused(data: st.DataObject) -> None:
    document = json.loads((FIXTURES / data.draw(st.sampled_from(NAMES))).read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        _change(document, data)
    content = json.dumps(document).encode()
    parse_or_refuse(content, model="m", gpu="g")


def _change(document: Any, data: st.DataObject) -> None:
    """Go down a random path and put something random, or another place's value, at its end."""
    inside = document
    while True:
        keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        deeper = inside[key]
        if not isinstance(deeper, dict | list) or data.draw(st.integers(0, 9)) == 0:
            small = st.sampled_from([0, 1e-300, 1e15, 10**400, -1, 1, 2, 1e6])
            inside[key] = data.draw(JSON | small | st.just(copy.deepcopy(deeper)))
            return
        inside = deeper


CELL = st.sampled_from(["", "0", "1", "4", "101", "1e12", "1e-99", "x", '"', "0.5", "2080", "-1"])
COLUMN = st.sampled_from(HEADER.split(","))


@given(st.lists(st.dictionaries(COLUMN, CELL, max_size=3), max_size=4))
def test_any_cells_are_parsed_or_refused(changes: list[dict[str, str]]) -> None:
    parse_or_refuse(table(*changes))


@given(st.text(max_size=200), st.text(max_size=40))
def test_any_table_is_parsed_or_refused(body: str, header: str) -> None:
    parse_or_refuse(f"{HEADER}{header}\n{body}".encode(errors="surrogatepass"))


@given(
    st.lists(
        st.tuples(st.integers(1, 4000), st.floats(0.1, 1e5), st.floats(0.5, 1e4)),
        min_size=1,
        max_size=8,
        unique_by=lambda row: row[0],
    ),
    st.integers(2, 4000),
    st.integers(1, 100_000),
    st.booleans(),
)
def test_a_table_written_from_levels_gives_them_back(
    rows: list[tuple[int, float, float]], outputs: int, inputs: int, in_seconds: bool
) -> None:
    unit, per_ms = ("s", 0.001) if in_seconds else ("ms", 1.0)
    lines = [f"model,gpu,pp,concurrency,input_tokens,output_tokens,ttft_{unit},tpot_{unit}"]
    for held, ttft_ms, factor in rows:
        tpot_ms = min(ttft_ms * 5, factor)
        cells = [held, inputs, outputs, ttft_ms * per_ms, tpot_ms * per_ms]
        lines.append("m,g,3," + ",".join(map(repr, cells)))
    found = parse_or_refuse("\r\n".join(lines).encode("utf-8-sig"))
    if found is None:  # A random series may well break down and recover.
        return
    [profile] = found.profiles
    assert (profile.model, profile.sku, profile.tp, profile.pp) == ("m", "g", 1, 3)
    assert len(profile.levels) == len(rows)
    for level, (held, ttft_ms, factor) in zip(profile.levels, sorted(rows), strict=True):
        tpot_ms = min(ttft_ms * 5, factor)
        e2e_ms = ttft_ms + tpot_ms * (outputs - 1)
        assert level.concurrency == held
        assert level.ttft_ms.mean == pytest.approx(ttft_ms)
        assert level.tpot_ms.mean == pytest.approx(tpot_ms)
        assert level.e2e_ms.mean == pytest.approx(e2e_ms)
        assert level.requests_per_s == pytest.approx(held / e2e_ms * 1000)
