"""Jobs as pages show them: live progress, a table, cancel and retry."""

from collections.abc import Sequence
from datetime import datetime

import streamlit as st

from core.domain.ids import utc_now
from core.domain.job import Job, JobState
from core.services import jobs
from ui import queries, tables
from ui.actions import attempt
from ui.components import outcome
from ui.context import uow
from ui.formatting import ago, duration, markdown

WATCHED = "watched_jobs"
PLACE = "jobs"


def watch_active_jobs() -> None:
    """Show the active jobs with progress; polls only while there are any."""
    outcome(PLACE)
    active = queries.active_jobs()
    st.session_state[WATCHED] = [job.job_id for job in active]
    if active:
        st.fragment(_active_jobs, run_every="1s", key="active_jobs")()


def _active_jobs() -> None:
    active = queries.active_jobs()
    if [job.job_id for job in active] != st.session_state.get(WATCHED):
        st.rerun()  # a job ended or began: the rest of the page changes too
    now = utc_now()
    with st.container(border=True, key="job_progress"):
        for job in active:
            _active_job(job, now)
        if len(active) > 1:
            st.button(
                "Cancel all",
                key="cancel_all",
                icon=":material/cancel:",
                on_click=_cancel,
                args=([job.job_id for job in active],),
            )


def _active_job(job: Job, now: datetime) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key=f"job_{job.job_id}"):
        if job.state == JobState.RUNNING:
            st.progress(min(1.0, max(0.0, job.progress)), text=progress_text(job, now))
        else:
            st.markdown(f":gray-badge[waiting] {markdown(job.title)}", width="stretch")
        st.button(
            "Stopping" if job.cancel_requested else "Cancel",
            key=f"cancel_{job.job_id}",
            type="tertiary",
            disabled=job.cancel_requested,
            on_click=_cancel,
            args=([job.job_id],),
        )


def progress_text(job: Job, now: datetime) -> str:
    """Return what a running job does and how long it still takes, as Markdown."""
    eta_s = job.eta_s(now)
    left = f"about {duration(eta_s)} left" if eta_s is not None else "estimating the time left"
    return f"**{markdown(job.title)}** · {markdown(job.message)} · {left}"


def jobs_table(known: Sequence[Job]) -> None:
    """Show jobs with their outcome; finished ones can be run again."""
    frame = tables.jobs_frame(known)
    frame["action"] = ["Cancel" if job.active else "Run again" for job in known]
    st.dataframe(
        frame,
        key="jobs_table",
        hide_index=True,
        alt="Jobs with state, progress and messages",
        column_order=["title", "state", "progress", "action", "message", "created_at", "took"],
        column_config={
            "title": st.column_config.TextColumn("Job", pinned=True),
            "state": "State",
            "progress": st.column_config.ProgressColumn("Progress", format="percent"),
            "message": st.column_config.TextColumn("Message", width="medium"),
            "created_at": st.column_config.DatetimeColumn("Asked for", format="distance"),
            "took": "Took",
            "action": st.column_config.ButtonColumn(
                "", key="job_action", on_click=_act_on_row, args=([j.job_id for j in known],)
            ),
        },
    )


def failures(known: Sequence[Job], now: datetime, limit: int = 2) -> None:
    """Show the newest jobs that failed with message and hint, unless run again since."""
    for job in unanswered_failures(known)[:limit]:
        with st.container(border=True):
            st.error(
                markdown(job.hint) or "The controller's log holds the details.",
                title=markdown(f"{job.title} failed {ago(job.finished_at, now)}"),
                icon=":material/error:",
            )
            if job.message:
                st.code(job.message, language=None, wrap_lines=True)
            st.button(
                "Run again",
                key=f"retry_{job.job_id}",
                icon=":material/replay:",
                on_click=_retry,
                args=(job.job_id,),
            )


def unanswered_failures(known: Sequence[Job]) -> list[Job]:
    """Return failed jobs, newest first, that no newer job of the same title stands for."""
    seen: set[str] = set()
    failed = []
    for job in known:
        if job.state == JobState.FAILED and job.title not in seen:
            failed.append(job)
        seen.add(job.title)
    return failed


def _cancel(job_ids: list[str]) -> None:
    # Last first: were the running one to end, the next would start.
    for job_id in reversed(job_ids):
        attempt(PLACE, "Cancelled, or stopping within seconds.", jobs.cancel, uow(), job_id)


def _retry(job_id: str) -> None:
    attempt(PLACE, "The job waits for its turn.", jobs.retry, uow(), job_id, utc_now())


def _act_on_row(job_ids: list[str]) -> None:
    click = st.session_state.get("job_action")
    if not click or click["row"] >= len(job_ids):
        return
    job_id = job_ids[click["row"]]
    if click["label"] == "Cancel":
        _cancel([job_id])
    else:
        _retry(job_id)
