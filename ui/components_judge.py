"""The form that has answers judged by another model, and what the last judge was like."""

import streamlit as st

from core.domain.ids import utc_now
from core.domain.job import Job, JobKind, JobState
from core.domain.judge import EXAMPLE, JudgeEndpoint
from core.services import judging
from ui import components, queries
from ui.actions import attempt
from ui.context import uow
from ui.formatting import markdown, percent, usd

EXPLANATION = (
    "For answers that no rule can score. A judge, any model behind an OpenAI-compatible address, "
    "compares each answer with the reference of the query set, once in either order; when it "
    "changes its mind with the order, that is a tie. The score is 1 for better than the "
    "reference, 0.5 for as good, 0 for worse. A key is read from `BOUTE_JUDGE_API_KEY` by the "
    "controller; it is not stored."
)


def judge_form() -> None:
    """Ask for a judgement."""
    st.markdown(EXPLANATION)
    components.outcome("judge")
    models = [m.name for m in queries.models()]
    skus = queries.skus(queries.devices())
    sets = queries.query_sets()
    if not (models and skus and sets):
        st.caption("Needs a model, a device and a query set.")
        return
    with st.form("judge_form"):
        with st.container(horizontal=True):
            st.selectbox("Model", models, key="judge_of")
            st.selectbox("Query set", sets, key="judge_queries")
            st.selectbox("Device type", skus, key="judge_sku")
            st.number_input("Queries per class", 1, 10_000, 100, key="judge_n")
        with st.container(horizontal=True):
            st.text_input("Judge's address", key="judge_url", placeholder=EXAMPLE)
            st.text_input("Judge's model", key="judge_model")
            st.number_input("$ per million prompt tokens", 0.0, key="judge_input_price")
            st.number_input("$ per million answer tokens", 0.0, key="judge_output_price")
        st.form_submit_button("Start judging", key="judge_start", type="primary", on_click=_start)
    _last()


def _start() -> None:
    chosen = st.session_state

    def run() -> judging.JudgingCost:
        endpoint = JudgeEndpoint(
            chosen["judge_url"].strip(),
            chosen["judge_model"].strip(),
            float(chosen["judge_input_price"]),
            float(chosen["judge_output_price"]),
        )
        name, per_class = chosen["judge_queries"], int(chosen["judge_n"])
        judging.request_judging(
            uow(),
            chosen["judge_of"],
            chosen["judge_sku"],
            endpoint,
            utc_now(),
            query_set=name,
            per_class=per_class,
        )
        return judging.judging_cost(queries.query_set(name), per_class, endpoint)

    attempt("judge", _in_words, run)


def _in_words(cost: judging.JudgingCost) -> str:
    price = f", at most about {usd(cost.usd)}" if cost.usd else ""
    return (
        f"Judging waits for its turn: {cost.comparisons:,} comparisons, about "
        f"{cost.input_tokens:,} prompt tokens{price}."
    )


def _last() -> None:
    job = next((job for job in queries.all_jobs() if _is_done(job)), None)
    if job is None:
        return
    found = job.result
    st.caption(markdown(f"Last: {job.title}"))
    with st.grid(4, min_column_width=150, gap="small"):
        st.metric(
            "Both orders agree",
            percent(found["agreement"], 0),
            border=True,
            help=f"95 % interval {percent(found['agreement_lower'], 0)} to "
            f"{percent(found['agreement_upper'], 0)}. The others count as ties.",
        )
        st.metric(
            "Prefers the first shown",
            "unknown" if found["first_shown"] is None else percent(found["first_shown"], 0),
            border=True,
            help="50 %: the place of an answer does not matter to this judge.",
        )
        st.metric("Unreadable verdicts", found["unreadable"], border=True)
        st.metric(
            "Cost of the judge",
            usd(found["cost_usd"]),
            border=True,
            help=f"{found['input_tokens']:,} prompt and {found['output_tokens']:,} answer tokens",
        )


def _is_done(job: Job) -> bool:
    return (
        job.kind is JobKind.JUDGE and job.state is JobState.SUCCEEDED and "agreement" in job.result
    )
