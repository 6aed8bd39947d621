"""Scorers, intervals and uploaded query sets."""

import contextlib
import json
import math
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from core.domain.intervals import Z_95, wilson
from core.errors import InvalidInput, NotFound
from core.quality.overlap import bleu, rouge_1, rouge_2, rouge_l
from core.quality.query_sets import MAX_BYTES, MAX_TEXT_CHARS, parse_query_set
from core.quality.scorers import (
    SCORERS,
    contains,
    exact_match,
    multiple_choice,
    numeric,
    scorer,
    why_unusable,
)

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


GRADED = {"bleu", "rouge_1", "rouge_2", "rouge_l"}


@FEW
@given(st.sampled_from(sorted(SCORERS)), st.text(), st.text())
def test_a_score_is_between_nought_and_one(name: str, answer: str, reference: str) -> None:
    score = scorer(name)(answer, reference)
    assert 0 <= score <= 1
    assert name in GRADED or score in {0, 1}


@pytest.mark.parametrize(
    ("answer", "chosen"),
    [
        ("C", "C"),
        ("(c).", "C"),
        ("Let me see: (A) is wrong, (D) too. The answer is (B).", "B"),
        ("The answer is (A). No, wait: the answer is (J).", "J"),
        ("Answer: C", "C"),
        ("**Answer: C**", "C"),
        ("The correct option is D because A is too large.", "D"),
        ("The answer is A because it is.", "A"),
        (r"So it is $\boxed{E}$, not (F).", "E"),
        (r"\boxed{\text{(E)}}", "E"),
        ("Among these, (A) cannot be; that leaves (G)", "G"),
        ("B. Because of the river.", "B"),
        ("It must be\nF", "F"),
        ("The answer is a river. (H)", "H"),
        ("Answer: I think it is (B)", "B"),
        ("Answer: A river (C)", "C"),
        ("I do not know.", None),
        ("", None),
    ],
)
def test_the_option_an_answer_chooses(answer: str, chosen: str | None) -> None:
    right = [letter for letter in "ABCDEFGHIJ" if multiple_choice(answer, letter)]
    assert right == ([chosen] if chosen else [])
    assert multiple_choice(answer, f"({(chosen or 'B').lower()})") == float(chosen is not None)


def test_bleu_is_what_its_definition_gives() -> None:
    """Papineni et al. 2002: 3 of 4 words, 2 of 3 pairs, 1 of 2 triples, no quadruple.

    sacrebleu halves a missing count once more for each missing order (its "exp" smoothing).
    """
    expected = (3 / 4 * 2 / 3 * 1 / 2 * 0.5 / 1) ** 0.25
    assert bleu("the red cat sleeps", "the red cat sat") == pytest.approx(expected)
    short = math.exp(1 - 4 / 2)  # brevity penalty of 2 words for 4
    assert bleu("the red", "the red cat sat") == pytest.approx(short)
    assert bleu("the red cat sat", "the red cat sat") == 1
    assert bleu("", "the red cat sat") == 0


def _f_measure(shared: int, answered: int, wanted: int) -> float:
    return 2 * shared / (answered + wanted) if answered + wanted else 0.0


WORDS = st.lists(st.sampled_from(["red", "cat", "sat", "mat", "dog"]), min_size=1, max_size=7)


@FEW
@given(WORDS, WORDS)
def test_rouge_agrees_with_counting(answer: list[str], reference: list[str]) -> None:
    texts = " ".join(answer), " ".join(reference)
    sequences = [list(its) for n in range(8) for its in combinations(reference, n)]
    longest = max(len(s) for s in sequences if _is_subsequence(s, answer))
    assert rouge_l(*texts) == pytest.approx(_f_measure(longest, len(answer), len(reference)))
    for n, rouge in ((1, rouge_1), (2, rouge_2)):
        first, second = (
            Counter(zip(*(w[i:] for i in range(n)), strict=False)) for w in (answer, reference)
        )
        shared = (first & second).total()
        assert rouge(*texts) == pytest.approx(_f_measure(shared, first.total(), second.total()))


def _is_subsequence(part: list[str], whole: list[str]) -> bool:
    rest = iter(whole)
    return all(word in rest for word in part)


@pytest.mark.parametrize(
    ("name", "reference", "why"),
    [
        ("multiple_choice", "AB", "not the letter"),
        ("multiple_choice", "4", "not the letter"),
        ("rouge_l", "река", "ROUGE finds no word"),
        ("bleu", " ", "no reference"),
    ],
)
def test_useless_references_are_named(name: str, reference: str, why: str) -> None:
    assert why in (why_unusable(name, reference) or "")


@pytest.mark.parametrize(
    ("name", "reference"), [("multiple_choice", "(c)"), ("rouge_l", "A 4"), ("bleu", "река")]
)
def test_useful_references_are_taken(name: str, reference: str) -> None:
    assert why_unusable(name, reference) is None


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
