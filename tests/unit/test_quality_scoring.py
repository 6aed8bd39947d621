"""Scorers, intervals and uploaded query sets."""

import contextlib
import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from core.domain.intervals import Z_95, wilson
from core.errors import InvalidInput, NotFound
from core.quality.query_sets import MAX_BYTES, MAX_TEXT_CHARS, parse_query_set
from core.quality.scorers import SCORERS, contains, exact_match, numeric, scorer

FEW = settings(max_examples=50, deadline=None)


@pytest.mark.parametrize(
    ("answer", "reference", "score"),
    [
        ("3 + 4 = 7. Answer: 7.", "7", 1),
        ("Answer: 7", "8", 0),
        ("It is -12", "-12", 1),
        ("7-3", "3", 1),
        ("10 - 13 = -3", "-3", 1),
        ("about 1,234,567 in all", "1234567", 1),
        ("1, 2, 3", "3", 1),
        ("1,2", "2", 1),
        ("5.0", "5", 1),
        ("2.50 dollars", "2.5", 1),
        ("9007199254740993", "9007199254740992", 0),
        ("no number at all", "7", 0),
        ("", "7", 0),
        ("7", "seven", 0),
    ],
)
def test_numeric_reads_the_last_number(answer: str, reference: str, score: float) -> None:
    assert numeric(answer, reference) == score


def test_texts_are_compared_but_for_case_and_white_space() -> None:
    assert exact_match("  New\n York ", "new york") == 1
    assert exact_match("New York City", "new york") == 0
    assert contains("It is in New  York City.", "new york") == 1
    assert contains("It is in Boston.", "new york") == 0


@FEW
@given(st.sampled_from(sorted(SCORERS)), st.text(), st.text())
def test_a_score_is_nought_or_one(name: str, answer: str, reference: str) -> None:
    assert scorer(name)(answer, reference) in {0.0, 1.0}


@FEW
@given(st.integers(-(10**30), 10**30))
def test_every_whole_number_is_found(number: int) -> None:
    assert numeric(f"so that is {number:,}.", str(number)) == 1
    assert numeric(f"so that is {number}", str(number + 1)) == 0


def test_an_unknown_scorer_is_named() -> None:
    with pytest.raises(NotFound, match="'llm_judge'") as refused:
        scorer("llm_judge")
    assert "numeric" in refused.value.hint


@FEW
@given(st.integers(1, 500), st.data())
def test_wilson_agrees_with_scipy(n: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, n))
    slow = binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert wilson(right / n, n) == pytest.approx((slow.low, slow.high), abs=1e-9)


def test_wilson_solves_its_equation() -> None:
    """Its bounds are where the mean is z standard errors away (Wilson 1927)."""
    assert pytest.approx(norm.ppf(0.975)) == Z_95
    for bound in wilson(0.85, 40):
        assert abs(0.85 - bound) == pytest.approx(Z_95 * math.sqrt(bound * (1 - bound) / 40))


def test_nothing_measured_is_nothing_known() -> None:
    assert wilson(0.0, 0) == (0.0, 1.0)


def line(text: object = "2 + 2?", query_class: object = "easy", reference: object = "4") -> str:
    return json.dumps({"text": text, "class": query_class, "reference": reference})


def parse(*lines: str, scorer_name: str = "numeric", name: str = "mine", tokens: int = 32):
    return parse_query_set(name, "\n".join(lines).encode(), scorer_name, tokens)


def test_a_query_set_is_read_with_its_classes_in_turn() -> None:
    lines = [line("a?"), line("b?"), line("c?"), "", line("x?", "hard"), line("y?", "hard"), "\r"]
    found = parse(*lines, name=" mine ")
    assert (found.name, found.scorer, found.max_tokens) == ("mine", "numeric", 32)
    assert [q.text for q in found.queries] == ["a?", "x?", "b?", "y?", "c?"]
    assert found.classes == ("easy", "hard")
    assert found.queries[0].reference == "4"


def test_line_separators_inside_a_text_are_part_of_it() -> None:
    content = '{"text": "one\u2028two", "class": "easy", "reference": "4"}\r\n'
    found = parse_query_set("mine", b"\xef\xbb\xbf" + content.encode(), "numeric", 8)
    assert found.queries[0].text == "one\u2028two"


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ("{", "Line 2 is not JSON"),
        ("[" * 100_000, "Line 2 is not JSON"),
        ("[1, 2]", "Line 2 lacks"),
        ('{"text": "a", "class": "easy"}', "Line 2 lacks"),
        (line(reference=4), "Line 2 lacks"),
        (line(text="  "), "Line 2 has an empty"),
        (line(query_class=""), "Line 2 has an empty"),
        (line(query_class="x" * 65), "Line 2 has an empty, overlong"),
        (line(text="x" * (MAX_TEXT_CHARS + 1)), "Line 2 has an empty, overlong"),
        (line(text="a\x00b"), "unprintable"),
        (line(text="\ud800"), "unprintable"),
        (line(reference=""), "Line 2 has no reference"),
        (line(reference="four"), "Line 2 has the reference 'four', which is not a number"),
    ],
)
def test_a_bad_line_is_named_with_a_remedy(bad: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as refused:
        parse(line(), bad)
    assert refused.value.hint


def test_texts_need_no_number_unless_the_scorer_does() -> None:
    assert parse(line(reference="four"), scorer_name="contains").queries[0].reference == "four"


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe", b" " * (MAX_BYTES + 1)])
def test_a_useless_file_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_query_set("mine", content, "numeric", 32)
    assert refused.value.hint


@pytest.mark.parametrize(("name", "tokens"), [("", 32), ("x" * 65, 32), ("mine", 0)])
def test_a_useless_name_or_length_is_refused(name: str, tokens: int) -> None:
    with pytest.raises(InvalidInput):
        parse(line(), name=name, tokens=tokens)


@FEW
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode(errors="ignore")))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with contextlib.suppress(InvalidInput):
        assert parse_query_set("mine", content, "contains", 32).queries


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@FEW
@given(st.fixed_dictionaries({key: JSON for key in ("text", "class", "reference")}))
def test_any_json_is_storable_or_refused(row: dict[str, object]) -> None:
    with contextlib.suppress(InvalidInput):
        [query] = parse(json.dumps(row), scorer_name="exact_match").queries
        for text in (query.text, query.query_class, query.reference):
            assert "\x00" not in text
            assert text.encode()
