"""Files of outcomes: tables, published data, lm-evaluation-harness; refused with the row."""

import contextlib
import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidInput
from core.importing import outcomes as module
from core.importing.outcomes import Given, ImportedOutcomes, parse_outcomes
from core.settings import REPOSITORY

FEW = settings(max_examples=150, deadline=None)
DATA = REPOSITORY.parent / "shared" / "data"
MMLU_PRO = DATA / "quality_mmlu_pro_llama31_8b_70b.parquet"
LONG = """query,model,score,query_class,output_tokens
2 + 2?,small,1,easy,12
2 + 2?,large,1,easy,14
"Prove it, please.",small,0.25,hard,
"Prove it, please.",large,true,hard,90
"""


def parse(content: str | bytes, name: str = "outcomes.csv", **given: str) -> ImportedOutcomes:
    raw = content.encode() if isinstance(content, str) else content
    return parse_outcomes(raw, name, "job", Given(**given))


def sample(**changed: Any) -> dict[str, Any]:
    """A line as lm-evaluation-harness 0.4.9 writes it for a generation task."""
    return {
        "doc_id": 0,
        "doc": {"question": "How many?", "answer": "#### 4"},
        "target": "4",
        "arguments": {
            "gen_args_0": {"arg_0": "Question: How many?\nAnswer:", "arg_1": {"until": []}}
        },
        "resps": [["There are 4 of them."]],
        "filtered_resps": ["4"],
        "filter": "strict-match",
        "metrics": ["exact_match"],
        "doc_hash": "x",
        "prompt_hash": "y",
        "target_hash": "z",
        "exact_match": 1.0,
    } | changed


def samples(*lines: dict[str, Any], **given: str) -> ImportedOutcomes:
    name = "samples_gsm8k_2025-03-01T10-20-30.123456.jsonl"
    content = "\n".join(json.dumps(line) for line in lines)
    return parse(content, name, **({"model": "small"} | given))


def test_a_row_per_query_and_model() -> None:
    found = parse(LONG)
    assert (found.format, found.metric) == ("table", "score")
    assert (found.models, found.classes) == (("large", "small"), ("easy", "hard"))
    told = [(o.query, o.model, o.score, o.query_class, o.output_tokens) for o in found.outcomes]
    assert told[0] == ("2 + 2?", "small", 1.0, "easy", 12)
    assert told[2] == ("Prove it, please.", "small", 0.25, "hard", 0)
    assert told[3] == ("Prove it, please.", "large", 1.0, "hard", 90)
    assert {o.job_id for o in found.outcomes} == {"job"}


def test_json_lines_of_the_same_table_say_the_same() -> None:
    rows = [
        {
            "prompt": "2 + 2?",
            "model_name": "small",
            "correct": True,
            "category": "easy",
            "completion_tokens": 12,
        },
        {
            "prompt": "2 + 2?",
            "model_name": "large",
            "correct": 1,
            "category": "easy",
            "completion_tokens": 14,
        },
    ]
    found = parse("\n".join(map(json.dumps, rows)), "outcomes.jsonl", metric="score")
    assert found.outcomes == parse(LONG).outcomes[:2]
    assert parse("\n".join(map(json.dumps, rows)), "outcomes.jsonl").metric == "correct"


def test_columns_per_model_with_options() -> None:
    table = pa.table(
        {
            "question": ["Which?", "What?"],
            "options_json": ['["one", "two"]', '["red"]'],
            "category": ["law", "art"],
            "correct__small": pa.array([1, None], pa.int8()),
            "out_chars__small": pa.array([40, 8], pa.int32()),
            "correct__large": pa.array([0, 1], pa.int8()),
        }
    )
    file = io.BytesIO()
    pq.write_table(table, file)
    found = parse(file.getvalue(), "outcomes.parquet")
    told = [(o.query, o.model, o.score, o.output_tokens) for o in found.outcomes]
    assert told == [
        ("Which?\nA. one\nB. two", "small", 1.0, 10),
        ("Which?\nA. one\nB. two", "large", 0.0, 0),
        ("What?\nA. red", "large", 1.0, 0),
    ]
    assert found.metric == "correct"
    assert any("1 answers without a score" in note for note in found.notes)
    assert any("characters / 4" in note for note in found.notes)


@pytest.mark.skipif(not MMLU_PRO.exists(), reason="the published outcomes are not here")
def test_the_published_outcomes_of_mmlu_pro() -> None:
    """TIGER-AI-Lab/MMLU-Pro publishes 8,357 answers of both; the means are its own."""
    found = parse(MMLU_PRO.read_bytes(), MMLU_PRO.name)
    assert found.models == ("llama-3.1-70b-instruct", "llama-3.1-8b-instruct")
    assert len(found.classes) == 14
    table = pq.read_table(MMLU_PRO, columns=["correct__llama-3.1-8b-instruct"])
    scores = [o.score for o in found.outcomes if o.model == "llama-3.1-8b-instruct"]
    assert len(scores) <= table.num_rows
    assert sum(scores) / len(scores) == pytest.approx(0.437, abs=0.003)


def test_of_repeated_answers_the_last_counts() -> None:
    found = parse("query,model,score\na?,m,1\na?,m,0\nb?,m,1\na?,m,0\n")
    assert [(o.query, o.score) for o in found.outcomes] == [("a?", 0), ("b?", 1)]
    assert any(note.startswith("Left out: 2 answers") for note in found.notes)


def test_what_the_operator_says_fills_what_the_file_does_not() -> None:
    found = parse("question,quality\na?,0.5\n", model="m", query_class="chat", metric="judge")
    [outcome] = found.outcomes
    assert (outcome.model, outcome.query_class, found.metric) == ("m", "chat", "judge")


def test_one_of_several_metrics_is_taken_by_name() -> None:
    content = "query,model,score,rouge_l\na?,m,1,0.25\n"
    assert parse(content).outcomes[0].score == 1
    chosen = parse(content, metric="rouge_l")
    assert (chosen.outcomes[0].score, chosen.metric) == (0.25, "rouge_l")


def test_logged_samples_of_a_task() -> None:
    found = samples(sample(), sample(doc_id=1, arguments=[["Second?", {}]], exact_match=0))
    assert (found.format, found.metric) == ("lm-evaluation-harness", "exact_match")
    told = [(o.query, o.query_class, o.model, o.score, o.output_tokens) for o in found.outcomes]
    assert told == [
        ("Question: How many?\nAnswer:", "gsm8k", "small", 1.0, 5),
        ("Second?", "gsm8k", "small", 0.0, 5),
    ]


def test_one_of_several_filters_is_taken() -> None:
    lines = [sample(), sample(filter="flexible-extract", exact_match=0)]
    first = samples(*lines)
    assert [o.score for o in first.outcomes] == [1]
    assert any("flexible-extract (1 lines)" in note for note in first.notes)
    assert [o.score for o in samples(*lines, filter_name="flexible-extract").outcomes] == [0]


def test_of_a_chat_the_last_user_message_counts() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "First?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "And now?"},
    ]
    sent = {"gen_args_0": {"arg_0": json.dumps(messages), "arg_1": {}}}
    assert samples(sample(arguments=sent)).outcomes[0].query == "And now?"


def test_choices_by_likelihood_have_their_question_and_metric() -> None:
    line = sample(
        arguments={
            "gen_args_0": {"arg_0": "Which?", "arg_1": " A"},
            "gen_args_1": {"arg_0": "Which?", "arg_1": " B"},
        },
        resps=[[["-1.5", "False"]], [["-0.5", "True"]]],
        metrics=["acc", "acc_norm"],
        acc=0.0,
        acc_norm=1.0,
    )
    del line["exact_match"], line["filter"]
    found = samples(line)
    assert (found.metric, found.outcomes[0].score) == ("acc", 0)
    assert samples(line, metric="acc_norm").outcomes[0].score == 1


def test_without_what_was_sent_the_document_has_the_question() -> None:
    assert samples(sample(arguments={})).outcomes[0].query == "How many?"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("query,model\na?,m\n", "no column of score"),
        ("model,score\nm,1\n", "no column of query"),
        ("query,score\na?,1\n", "does not say which model"),
        ("query,model,score\na?,m,2\n", r"Row 2: the score '2'"),
        ("query,model,score\na?,m,1\nb?,m,nan\n", r"Row 3: the score 'nan'"),
        ("query,model,score\na?,m,good\n", r"Row 2: the score 'good'"),
        ("query,model,score\n,m,1\n", r"Row 2: the query is empty"),
        ("query,model,score\na?,,1\n", r"Row 2: '' is no name of a model"),
        ("query,model,score,output_tokens\na?,m,1,few\n", r"Row 2: the answer length 'few'"),
        ("query,model,score,options\na?,m,1,red\n", r"Row 2: the options are no list"),
        ("query,model,score,score\na?,m,1,0\n", "Two columns are called 'score'"),
        ("query,model,score\n", "holds no scored answer"),
        ("query,model,score\na?,m,\n", "holds no scored answer"),
        ("", "is empty"),
    ],
)
def test_a_table_that_cannot_be_used_says_where(content: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said) as refused:
        parse(content)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("line", "given", "said"),
    [
        (sample(), {"model": ""}, "do not say which model"),
        (sample(), {"metric": "bleu"}, "no metric 'bleu'"),
        (sample(exact_match=34.2), {}, "Line 1: the score '34.2'"),
        (sample(exact_match=[1, 2]), {}, "Line 1: the score"),
        (sample(arguments={}, doc={}), {}, "Line 1: the question is not there"),
        (sample(arguments={"a": "x" * 200_000}), {}, "Line 1: the query is empty, too long"),
    ],
)
def test_samples_that_cannot_be_used_say_where(
    line: dict[str, Any], given: dict[str, str], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said) as refused:
        samples(line, **given)
    assert refused.value.hint


def test_too_many_classes_are_not_planned_for() -> None:
    rows = "".join(f"q{i}?,m,1,class {i}\n" for i in range(51))
    with pytest.raises(InvalidInput, match="51 query classes"):
        parse("query,model,score,class\n" + rows)


@pytest.mark.parametrize("given", [{"model": "x" * 65}, {"query_class": "a\x00"}])
def test_names_that_cannot_be_stored_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="is no name"):
        parse(LONG, **given)


@FEW
@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda t: t.encode(errors="ignore")))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        with contextlib.suppress(InvalidInput):
            assert parse(content, name, model="m").outcomes


CELLS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    CELLS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
ROW = st.fixed_dictionaries(
    {},
    optional={
        key: VALUES
        for key in (
            "query",
            "model",
            "score",
            "class",
            "options",
            "output_tokens",
            "doc",
            "resps",
            "arguments",
            "filter",
            "acc",
        )
    },
)


@FEW
@given(st.lists(ROW, min_size=1, max_size=4))
def test_any_json_is_storable_or_refused(rows: list[dict[str, Any]]) -> None:
    content = "\n".join(json.dumps(row) for row in rows)
    with contextlib.suppress(InvalidInput):
        for its in parse(content, "a.jsonl", model="m").outcomes:
            assert 0 <= its.score <= 1
            assert its.output_tokens >= 0
            for text in (its.query, its.query_class, its.model):
                assert text.strip()
                assert "\x00" not in text
                assert text.encode()


@FEW
@given(st.data())
def test_a_parquet_file_with_a_bit_turned_is_read_or_refused(data: st.DataObject) -> None:
    file = io.BytesIO()
    pq.write_table(
        pa.table({"query": ["a?", "b?"], "model": ["m", "m"], "score": [1.0, 0.5]}), file
    )
    content = bytearray(file.getvalue())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(InvalidInput):
        assert parse(bytes(content), "a.parquet").outcomes


def test_rows_are_bounded() -> None:
    assert module.BOUNDS.rows == 500_000
    many = "query,model,score\n" + "a?,m,1\n" * (module.BOUNDS.rows + 1)
    with pytest.raises(InvalidInput, match="more than 500,000 rows"):
        parse(many)
