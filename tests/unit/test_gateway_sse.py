"""Reading usage from a stream must not change what the caller sees."""

import json
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from core.serving.gateway.sse import Usage, UsageFilter, usage_of_body

USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def event(ending: bytes = b"\n", **fields: object) -> bytes:
    return b"data: " + json.dumps(fields).encode() + ending * 2


def delta(text: str, ending: bytes = b"\n") -> bytes:
    return event(ending, choices=[{"delta": {"content": text}}])


DONE = b"data: [DONE]\n\n"
EXTRA = event(choices=[], usage=USAGE)


def through(stream: bytes, cuts: list[int], *, strip: bool) -> tuple[bytes, Usage]:
    passing = UsageFilter(strip=strip)
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    out = [passing.feed(stream[a:b]) for a, b in pairwise(edges)]
    return b"".join(out) + passing.end(), passing.usage


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.text(max_size=12), max_size=5),
    st.lists(st.integers(0, 10_000), max_size=12),
    st.sampled_from([b"\n", b"\r\n"]),
)
def test_any_chunking_gives_the_same_stream(
    texts: list[str], cuts: list[int], ending: bytes
) -> None:
    wanted = b"".join(delta(text, ending) for text in [*texts, '"usage"'])
    extra = event(ending, choices=[], usage=USAGE)
    stripped, usage = through(wanted + extra + DONE, cuts, strip=True)
    assert stripped == wanted + DONE
    kept, _ = through(wanted + extra + DONE, cuts, strip=False)
    assert kept == wanted + extra + DONE
    assert usage == Usage(7, 3)


def test_events_are_not_held_back() -> None:
    passing = UsageFilter(strip=True)
    assert passing.feed(delta("a")) == delta("a")
    first, second = delta("b")[:9], delta("b")[9:]
    assert passing.feed(first) + passing.feed(second) == delta("b")


def test_usage_beside_an_answer_stays() -> None:
    both = event(choices=[{"delta": {"content": "x"}}], usage=USAGE)
    assert through(both, [], strip=True) == (both, Usage(7, 3))


def test_null_usage_stays() -> None:
    chunk = event(choices=[{"delta": {}}], usage=None)
    assert through(chunk, [], strip=True) == (chunk, Usage())


def test_nonsense_passes_through() -> None:
    for odd in (b'data: "usage" {\n\n', b": comment\n\n", b'data: ["usage"]\n\n', b"no newline"):
        assert through(odd, [3], strip=True) == (odd, Usage())


def test_usage_of_whole_answers() -> None:
    assert usage_of_body(json.dumps({"usage": USAGE}).encode()) == Usage(7, 3)
    assert usage_of_body(b'{"usage": {"prompt_tokens": "many"}}') == Usage()
    for odd in (b"", b"[]", b"{}", b'{"usage": 3}', b"<html>"):
        assert usage_of_body(odd) is None
