"""Traffic on Workload & quality: what is shown of workloads, and where new ones come from."""

from array import array
from dataclasses import replace

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core.domain.ids import utc_now
from core.domain.profile import Provenance
from core.domain.trace import Trace
from core.ports import UnitOfWorkFactory
from core.services import workloads
from tests.ui.conftest import OpenPage, texts
from tests.ui.seed import Seeded
from ui import charts_traffic, tables_traffic

Full = tuple[UnitOfWorkFactory, Seeded]
ROWS = "".join(
    f"{k * 0.5},{100 + k},{10 + k % 7},{'easy' if k % 3 else 'hard'}\n" for k in range(60)
)
TRACE = f"arrived_at_s,input_tokens,output_tokens,query_class\n{ROWS}".encode()


def traffic_tab(open_page: OpenPage) -> AppTest:
    at = open_page("workload")
    at.session_state["workload_tabs"] = "Traffic"
    at.run()
    assert not at.exception
    return at


def columns_shown(at: AppTest) -> list[set[str]]:
    return [set(frame.value.columns) for frame in at.dataframe]


def test_without_a_workload_the_page_says_where_one_comes_from(
    uow: UnitOfWorkFactory, open_page: OpenPage
) -> None:
    at = traffic_tab(open_page)
    shown = texts(at)
    assert "No traffic is described yet" in shown
    assert "score a model first" in shown
    assert "not seen a request" in shown
    assert at.get_by_key("trace_file")


def test_a_described_workload_is_shown_by_an_example(seeded: Full, open_page: OpenPage) -> None:
    at = traffic_tab(open_page)
    assert "An example drawn from the description" in texts(at)
    assert any("burstiness" in columns for columns in columns_shown(at))
    assert any({"query_class", "correlation"} <= columns for columns in columns_shown(at))
    assert "It has no trace to take a part of" in texts(at)


def test_an_uploaded_trace_is_stored_and_shown(seeded: Full, open_page: OpenPage) -> None:
    uow, _ = seeded
    at = traffic_tab(open_page)
    at.get_by_key("trace_file").set_value(("mine.csv", TRACE, "text/csv"))
    at.button(key="trace_save").click().run()
    assert not at.exception
    made = workloads.workloads(uow)[0]
    assert (made.name, made.trace_requests) == ("mine.csv", 60)
    assert at.session_state["workload_shown"] == made.workload_id
    shown = texts(at)
    assert "mine.csv is saved" in shown
    assert "Arrival times are seconds" in shown
    assert "An example drawn" not in shown


def test_a_trace_with_a_broken_row_is_refused_by_its_number(
    seeded: Full, open_page: OpenPage
) -> None:
    uow, _ = seeded
    at = traffic_tab(open_page)
    at.button(key="trace_save").click().run()
    assert "No file was chosen" in texts(at)
    at.get_by_key("trace_file").set_value(("mine.csv", TRACE + b"40,0,1,easy\n", "text/csv"))
    at.button(key="trace_save").click().run()
    assert "Row 62: the prompt has 0 tokens" in texts(at)
    assert "Leave out failed requests" in texts(at)
    assert len(workloads.workloads(uow)) == 1


def test_lengths_and_burstiness_are_described(seeded: Full, open_page: OpenPage) -> None:
    uow, _ = seeded
    at = traffic_tab(open_page)
    at.number_input(key="workload_burstiness").set_value(3.0)
    at.number_input(key="workload_input_tokens_mean_easy").set_value(250.0)
    at.number_input(key="workload_input_tokens_std_easy").set_value(40.0)
    at.button(key="workload_save").click().run()
    made = workloads.workloads(uow)[0]
    easy = next(t for t in made.classes if t.query_class == "easy")
    assert (made.burstiness, easy.input_tokens_mean, easy.input_tokens_std) == (3.0, 250.0, 40.0)
    at.number_input(key="workload_input_tokens_mean_easy").set_value(0.5)
    at.button(key="workload_save").click().run()
    assert "at least one token" in texts(at)


def test_the_gateways_requests_become_a_trace(seeded: Full, open_page: OpenPage) -> None:
    uow, _ = seeded
    at = traffic_tab(open_page)
    at.button(key="observed_save").click().run()
    made = workloads.workloads(uow)[0]
    assert made.provenance is Provenance.MEASURED
    assert 200 < made.trace_requests <= 240
    assert "240 requests at the gateway" in texts(at)


def test_copies_are_made_of_the_workload_that_is_shown(seeded: Full, open_page: OpenPage) -> None:
    uow, _ = seeded
    original = workloads.import_trace(uow, "mine", TRACE, "mine.csv", utc_now())
    at = traffic_tab(open_page)
    key = original.workload_id
    assert at.session_state["workload_shown"] == key
    at.number_input(key=f"scale_factor_{key}").set_value(3.0)
    at.button(key="scale_save").click().run()
    faster = workloads.workloads(uow)[0]
    assert (faster.name, faster.rate_rps) == ("mine, scaled", pytest.approx(3 * original.rate_rps))
    at.selectbox(key="workload_shown").set_value(key).run()
    at.number_input(key=f"window_start_{key}").set_value(10.0)
    at.number_input(key=f"window_end_{key}").set_value(5.0)
    at.button(key="window_save").click().run()
    assert "No request arrives between 10 s and 5 s" in texts(at)
    at.number_input(key=f"window_end_{key}").set_value(20.0)
    at.button(key="window_save").click().run()
    part = workloads.workloads(uow)[0]
    assert (part.name, part.trace_requests, part.rate_rps) == ("mine, part", 20, 2.0)


def trace(seconds: list[float], classes: list[int]) -> Trace:
    n = len(seconds)
    lengths = array("q", range(1, n + 1))
    return Trace(array("d", seconds), lengths, lengths, array("q", classes), ("a", "b"))


@pytest.mark.parametrize("span_s", [15.0, 3000.0])
def test_every_request_is_counted_in_its_part_of_the_time(span_s: float) -> None:
    times = [0.0, *sorted(np.random.default_rng(1).uniform(0, span_s, 500).tolist()), span_s]
    frame = tables_traffic.arrivals_frame(trace(times, [k % 2 for k in range(502)]))
    bin_s = span_s / 60
    for query_class, k in (("a", 0), ("b", 1)):
        rows = frame[frame["query_class"] == query_class]
        counted = [sum(s <= t < s + bin_s for t in times[k::2]) for s in rows["start_s"]]
        counted[-1] += k  # the last request, at the very end
        assert list(rows["rate_rps"] * bin_s) == pytest.approx(counted)
    at_once = tables_traffic.arrivals_frame(trace([0.0, 0.0], [0, 0]))
    assert (at_once["rate_rps"] * at_once["bin_s"]).sum() == pytest.approx(2)


def test_at_most_two_thousand_requests_are_drawn() -> None:
    many = trace([float(k) for k in range(10_000)], [0] * 10_000)
    frame = tables_traffic.lengths_frame(many)
    assert len(frame) == 2000
    assert (frame["input_tokens"].min(), frame["input_tokens"].max()) == (1, 10_000)
    few = tables_traffic.lengths_frame(trace([0.0, 1.0], [0, 1]))
    assert list(few["query_class"]) == ["a", "b"]


def test_the_figures_have_a_trace_per_class_and_a_readable_unit_of_time() -> None:
    day = trace([60.0 * k for k in range(1440)], [k % 2 for k in range(1440)])
    bars = charts_traffic.arrivals_bars(tables_traffic.arrivals_frame(day))
    assert [bar.name for bar in bars.data] == ["a", "b"]
    assert "hours" in bars.layout.xaxis.title.text
    assert max(bars.data[0].x) < 24
    points = charts_traffic.lengths_scatter(tables_traffic.lengths_frame(day))
    assert [scatter.name for scatter in points.data] == ["a", "b"]
    assert sum(len(scatter.x) for scatter in points.data) == 1440
    assert points.layout.xaxis.type == "log"


def test_an_unknown_deviation_is_empty(seeded: Full) -> None:
    uow, _ = seeded
    known = workloads.workloads(uow)[0]
    frame = tables_traffic.classes_frame(known)
    assert frame["input_std"].isna().all()
    wide = replace(known.classes[0], input_tokens_std=3.0, output_tokens_std=4.0)
    frame = tables_traffic.classes_frame(replace(known, classes=(wide, *known.classes[1:])))
    assert (frame["input_std"][0], frame["correlation"][0]) == (3.0, 0.0)
    assert frame["share"].sum() == pytest.approx(1)
