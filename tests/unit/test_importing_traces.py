"""Traces from files: what is understood, what is refused, and that nothing else happens."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.domain.trace import Trace
from core.errors import InvalidInput
from core.importing.arrival_times import spread_ties
from core.importing.trace_rows import Bounds, open_rows
from core.importing.traces import parse_trace
from core.settings import REPOSITORY

AZURE = REPOSITORY.parent / "shared" / "data" / "trace_azure2023_conv.csv"
COLUMNS = ("arrived_at_s", "input_tokens", "output_tokens", "query_class")
Rows = Sequence[tuple[float, int, int, str]]

requests = st.lists(
    st.tuples(
        st.integers(0, 10**9).map(lambda micros: micros / 1e6),
        st.integers(1, 100_000),
        st.integers(1, 100_000),
        st.sampled_from(["easy", "hard", "x; y", 'say "so"', "ü"]),
    ),
    min_size=1,
    max_size=30,
    unique_by=lambda row: row[0],
)


def as_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]], delimiter: str = ",") -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()


def as_jsonl(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    return "\n".join(json.dumps(dict(zip(columns, row, strict=True))) for row in rows).encode()


def as_parquet(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    cells = list(zip(*rows, strict=True))
    return parquet(pa.table(dict(zip(columns, map(list, cells), strict=True))))


def parquet(table: pa.Table) -> bytes:
    written = io.BytesIO()
    pq.write_table(table, written)
    return written.getvalue()


def text(*lines: str) -> bytes:
    return "\n".join(lines).encode()


def listed(trace: Trace) -> list[tuple[float, int, int, str]]:
    names = [trace.classes[k] for k in trace.query_class]
    columns = (trace.arrived_at_s, trace.input_tokens, trace.output_tokens, names)
    return list(zip(*columns, strict=True))


@pytest.mark.parametrize(
    ("file_name", "write"),
    [
        ("t.csv", as_csv),
        ("t.txt", lambda c, r: as_csv(c, r, ";")),
        ("t.tsv", lambda c, r: as_csv(c, r, "\t")),
        ("t.jsonl", as_jsonl),
        ("t.parquet", as_parquet),
        ("unnamed", as_parquet),
    ],
)
@settings(max_examples=30, deadline=None)
@given(rows=requests)
def test_every_format_gives_the_requests_in_order_from_zero(
    file_name: str, write: Callable[[Sequence[str], Rows], bytes], rows: Rows
) -> None:
    trace = parse_trace(write(COLUMNS, rows), file_name).trace
    start = min(row[0] for row in rows)
    expected = [(at - start, *rest) for at, *rest in sorted(rows)]
    assert listed(trace) == expected


@pytest.mark.parametrize(
    "header",
    [
        "TIMESTAMP,ContextTokens,GeneratedTokens",
        "Timestamp,Request tokens,Response tokens",
        "arrival_time,num_prefill_tokens,num_decode_tokens",
        "ts,prompt_tokens,completion_tokens",
        "Arrived At (s);Input-Length;Output-Length",
    ],
)
def test_columns_go_by_many_names(header: str) -> None:
    row = "1.5,30,4".replace(",", ";" if ";" in header else ",")
    assert listed(parse_trace(text(header, row), "t.csv").trace) == [(0.0, 30, 4, "all")]


def test_of_two_columns_with_a_known_name_the_better_known_one_is_taken() -> None:
    content = text("created_at,arrived_at_s,input_tokens,output_tokens", "5,1,1,1", "5,3,1,1")
    assert list(parse_trace(content, "t.csv").trace.arrived_at_s) == [0.0, 2.0]


@pytest.mark.parametrize(
    ("times", "column", "unit", "seconds", "note"),
    [
        (["10", "12.5"], "time", None, 2.5, "are seconds."),
        (["1700000000.5", "1700000003"], "time", None, 2.5, "seconds since 1970"),
        (["1700000000500", "1700000003000"], "time", None, 2.5, "milliseconds since 1970"),
        (["1700000000500000", "1700000003000000"], "time", None, 2.5, "microseconds since"),
        (["500", "3000"], "arrival_ms", None, 2.5, "are milliseconds."),
        (["500", "3000"], "time", "ms", 2.5, "are milliseconds."),
        (["2023-11-16 18:15:46.6805900", "2023-11-16 18:15:49.1805900"], "TIMESTAMP", None, 2.5,
         "moments"),
        (["2024-03-10T01:59:59+01:00", "2024-03-10T01:00:01.5Z"], "at", None, 2.5, "moments"),
    ],
)  # fmt: skip
def test_arrival_times_may_be_written_in_many_ways(
    times: list[str], column: str, unit: str | None, seconds: float, note: str
) -> None:
    name = "arrival" if column == "at" else column
    rows = [f"{at},1,1" for at in times]
    imported = parse_trace(text(f"{name},isl,osl", *rows), "t.csv", time_unit=unit)
    assert imported.trace.span_s == pytest.approx(seconds, abs=1e-5)
    assert note in imported.notes[0]


def test_moments_in_parquet_are_moments_whatever_their_resolution() -> None:
    start = datetime(2024, 5, 10, tzinfo=UTC)
    for unit in ("s", "ms", "us", "ns"):
        at = pa.array([start, start + timedelta(seconds=7)], pa.timestamp(unit, tz="UTC"))
        table = pa.table({"TIMESTAMP": at, "ContextTokens": [1, 2], "GeneratedTokens": [3, 4]})
        assert parse_trace(parquet(table), "t.parquet").trace.span_s == 7.0


def test_parquet_texts_may_be_dictionaries_and_lengths_decimals() -> None:
    table = pa.table(
        {
            "ts": [0.0, 1.0],
            "isl": pa.array([5, 6], pa.decimal128(10, 2)),
            "osl": pa.array([7, 8], pa.uint16()),
            "class": pa.array(["a", "b"]).dictionary_encode(),
        }
    )
    trace = parse_trace(parquet(table), "t.parquet").trace
    assert listed(trace) == [(0.0, 5, 7, "a"), (1.0, 6, 8, "b")]


def test_requests_without_an_answer_are_left_out_and_counted() -> None:
    content = text("ts,isl,osl", "0,5,0", "1,5,2", "2,5,0", "4,5,1")
    imported = parse_trace(content, "t.csv")
    assert list(imported.trace.arrived_at_s) == [0.0, 3.0]
    assert any("2 without an answer" in note for note in imported.notes)


def test_rows_without_a_class_get_the_default_and_are_counted() -> None:
    content = text("ts,isl,osl,class", "0,1,1,chat", "1,1,1,", "2,1,1, ")
    imported = parse_trace(content, "t.csv", default_class="other")
    assert [row[3] for row in listed(imported.trace)] == ["chat", "other", "other"]
    assert any("2 without a class are in 'other'" in note for note in imported.notes)


def test_prompts_are_classified_when_there_are_no_classes() -> None:
    def classify(prompt: str) -> str:
        return "long" if len(prompt) > 3 else "short"

    bare = text("ts,isl,osl,prompt", "0,1,1,Why?", '1,1,1,"a, b, ""c"""', "2,1,1,Yes")
    imported = parse_trace(bare, "t.csv", classify=classify)
    assert [row[3] for row in listed(imported.trace)] == ["long", "long", "short"]
    assert "3 were given a class by their prompts." in imported.notes
    known = text("ts,isl,osl,prompt,class", "0,1,1,Why?,mine")
    assert parse_trace(known, "t.csv", classify=classify).trace.classes == ("mine",)
    assert parse_trace(bare, "t.csv").trace.classes == ("all",)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("x,1,1", "the arrival time 'x'"),
        ("-1,1,1", "negative"),
        ("nan,1,1", "not a number"),
        (",1,1", "arrival time None"),
        ("2023-01-01T00:00:00,1,1", "arrival time '2023"),
        ("2,0,1", "the prompt has 0 tokens"),
        ("2,-5,1", "the prompt has -5 tokens"),
        ("2,nan,1", "prompt length 'nan'"),
        ("2,1.5,1", "prompt length '1.5'"),
        ("2,1,", "answer length 'None'"),
        ("2,1,-1", "the answer has -1 tokens"),
        ("2,1,99999999999", "the answer has 99,999,999,999 tokens"),
        ("2,1,1,9", "has 4 cells, the header 3"),
        ('2,1,"1', "cannot be read"),
        ("1e12,1,1", "days away"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(row: str, says: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_trace(text("ts,isl,osl", "0,1,1", "", "1,1,1", row), "t.csv")
    assert "Row 5" in refused.value.message
    assert says in refused.value.message
    assert refused.value.hint


def test_lines_of_json_are_named_as_lines() -> None:
    good = '{"ts": 0, "isl": 1, "osl": 1}'
    for bad in ("nonsense", "[1]", '{"ts": 1, "isl": true, "osl": 1}', '{"ts": 1}'):
        with pytest.raises(InvalidInput, match="Line 3"):
            parse_trace(text(good, "", bad), "t.jsonl")


@pytest.mark.parametrize(
    ("content", "file_name", "says"),
    [
        (b"", "t.csv", "is empty"),
        (b"\xff\xfe\x00", "t.csv", "neither UTF-8"),
        (b"\x1f\x8b\x08", "t.csv.gz", "compressed"),
        (b"ts,isl\n1,1", "t.csv", "no column of output_tokens"),
        (b"0.0,374,44\n1.0,3,4", "t.csv", "no column of arrived_at_s"),
        (b"ts,isl,osl", "t.csv", "no request with an answer"),
        (b"ts,isl,osl\n1,1,0", "t.csv", "no request with an answer"),
        (b"ts,ts,isl,osl\n1,2,1,1", "t.csv", "Two columns"),
        (b"time_s,isl,osl\n1700000000000,1,1", "t.csv", "after the year 2100"),
        (b'[{"ts": 1, "isl": 1, "osl": 1}]', "t.json", "not a JSON object"),
        (b"ts,isl,osl\n1,1,1", "t.parquet", "not a Parquet file"),
        (b"PAR1 and more", "t.csv", "not a Parquet file"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(content: bytes, file_name: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says) as refused:
        parse_trace(content, file_name)
    assert refused.value.hint


def test_files_are_bounded() -> None:
    rows = [(0.0, 1, 1, "a"), (1.0, 1, 1, "a"), (2.0, 1, 1, "a")]
    for file_name, write in {"csv": as_csv, "jsonl": as_jsonl, "parquet": as_parquet}.items():
        content = write(COLUMNS, rows)
        with pytest.raises(InvalidInput, match="more than 2 rows"):
            read_all(content, f"t.{file_name}", Bounds(rows=2))
        assert read_all(content, f"t.{file_name}", Bounds(rows=3)) == 3
        with pytest.raises(InvalidInput, match="At most 0 MiB"):
            read_all(content, f"t.{file_name}", Bounds(file_bytes=len(content) - 1))
    with pytest.raises(InvalidInput, match="1001 columns"):
        parse_trace(b"," * 1000, "t.csv")


def test_a_small_file_that_unpacks_to_very_much_is_refused() -> None:
    table = pa.table({"ts": ["0" * 2**20] * 20})
    written = io.BytesIO()
    pq.write_table(table, written, compression="zstd", use_dictionary=False)
    content = written.getvalue()
    assert len(content) < 2**18
    with pytest.raises(InvalidInput, match="unpacks to more than 16 MiB"):
        read_all(content, "t.parquet", Bounds(unpacked_bytes=16 * 2**20))


def read_all(content: bytes, file_name: str, bounds: Bounds) -> int:
    source = open_rows(content, file_name, lambda name: name in COLUMNS, bounds)
    return sum(1 for _ in source.rows(source.columns))


def test_a_column_of_lists_is_refused() -> None:
    table = pa.table({"ts": [[1.0]], "isl": [1], "osl": [1]})
    with pytest.raises(InvalidInput, match="holds list"):
        parse_trace(parquet(table), "t.parquet")


def test_more_classes_than_can_be_planned_for_are_refused() -> None:
    rows = [f"{k},1,1,class {k}" for k in range(51)]
    with pytest.raises(InvalidInput, match="Row 52: this is class number 51"):
        parse_trace(text("ts,isl,osl,class", *rows), "t.csv")


@pytest.mark.parametrize("name", ["a" * 65, "nul\\u0000", "half \\ud800"])
def test_class_names_that_no_database_takes_are_refused(name: str) -> None:
    line = f'{{"ts": 0, "isl": 1, "osl": 1, "class": "{name}"}}'
    with pytest.raises(InvalidInput, match=r"Line 1: .* is no name"):
        parse_trace(line.encode(), "t.jsonl")


def test_what_a_coarse_clock_bunched_is_spread_over_its_tick() -> None:
    rows = [f"{second},1,1" for second in range(100) for _ in range(5)]
    imported = parse_trace(text("ts,isl,osl", *rows), "t.csv")
    times = np.array(imported.trace.arrived_at_s)
    assert "ticks every 1 s" in imported.notes[-1]
    assert 0.8 < np.diff(times).std() / np.diff(times).mean() < 1.2
    assert times[-1] <= 100


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1), st.sampled_from([0.001, 0.25, 1.0, 3.0]))
def test_spreading_moves_no_request_by_more_than_a_tick(ticks: list[int], tick_s: float) -> None:
    times = np.sort(np.array(ticks, dtype=np.float64)) * tick_s
    times -= times[0]
    spread, notes = spread_ties(times)
    assert spread[0] == 0
    assert np.all(np.diff(spread) >= 0)
    actual_tick_s = float(np.gcd.reduce(np.rint(times * 1000).astype(np.int64))) / 1000
    assert np.abs(spread - times).max() <= (actual_tick_s + 1e-9 if notes else 0)


@pytest.mark.skipif(not AZURE.exists(), reason="needs the Azure 2023 conversation trace")
def test_the_azure_trace_is_read_whole() -> None:
    trace = parse_trace(Path(AZURE).read_bytes(), AZURE.name).trace
    assert len(trace) == 19_366
    assert trace.span_s == pytest.approx(3501.7, abs=0.1)
    assert np.mean(trace.input_tokens) == pytest.approx(1155, abs=0.5)
    assert np.mean(trace.output_tokens) == pytest.approx(211, abs=0.5)


def parsed_or_refused(content: bytes, file_name: str) -> None:
    """Whatever comes in, nothing but a usable trace or an explanation comes out."""
    try:
        trace = parse_trace(content, file_name, classify=lambda prompt: prompt[:70]).trace
    except InvalidInput as error:
        str(error).encode()
        return
    assert trace.arrived_at_s[0] == 0
    assert np.all(np.diff(trace.arrived_at_s) >= 0)
    assert min(trace.input_tokens) >= 1
    assert min(trace.output_tokens) >= 1
    assert set(trace.query_class) <= set(range(len(trace.classes)))
    "".join(trace.classes).encode()


file_names = st.sampled_from(["t.csv", "t.jsonl", "t.parquet", "t", "t.json"])
cells = st.one_of(
    st.text(max_size=8),
    st.integers(-3, 10**14).map(str),
    st.floats().map(str),
    st.datetimes().map(str),
    st.sampled_from(["", "1", "2", "nan", '"', "1_0", "\x00", "9" * 5000]),
)
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=3,
)
field_names = st.sampled_from([*COLUMNS, "ts", "isl", "osl", "prompt", "other"])
SAMPLE = as_parquet(
    ("ts", "isl", "osl", "prompt"), [(float(k), k + 1, k + 1, f"p{k}") for k in range(50)]
)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), file_names)
def test_any_bytes_are_read_or_refused(content: bytes, file_name: str) -> None:
    parsed_or_refused(content, file_name)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(cells, min_size=2, max_size=5), max_size=5),
    st.sampled_from([",", ";", "\t", "|"]),
    st.lists(field_names, max_size=5),
)
def test_any_cells_are_read_or_refused(
    rows: list[list[str]], delimiter: str, header: list[str]
) -> None:
    lines = [header or ["ts", "isl", "osl"], *rows]
    content = "\n".join(delimiter.join(line) for line in lines)
    parsed_or_refused(content.encode("utf-8", "surrogatepass"), "t.csv")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.dictionaries(field_names, json_values, max_size=6), min_size=1, max_size=4))
def test_any_json_is_read_or_refused(lines: list[dict[str, Any]]) -> None:
    whole = [{"ts": 1, "isl": 1, "osl": 1, **line} for line in lines]
    for rows in (lines, whole):
        parsed_or_refused("\n".join(map(json.dumps, rows)).encode(), "t.jsonl")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_damaged_parquet_is_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(SAMPLE)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    parsed_or_refused(bytes(content[: data.draw(st.integers(1, len(content)))]), "t.parquet")
    parsed_or_refused(bytes(content), "t.parquet")
