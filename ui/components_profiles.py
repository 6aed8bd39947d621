"""Profiles as pages show them, and the forms that ask for one."""

from collections.abc import Sequence

import streamlit as st

from core.domain.ids import utc_now
from core.domain.profile import LoadLevel, Profile
from core.errors import BOuteError
from core.profiling.levels import knee
from core.services import profiles
from core.services.profiles import MAX_SECONDS, SECONDS_PER_LEVEL, ProfileCost
from ui import charts_profiles, components, queries, tables, tables_profiles
from ui.actions import attempt
from ui.context import uow
from ui.formatting import duration, markdown, moment, percent, usd

LEVELS = [1, 2, 4, 8, 16, 32, 64, 128, 256]
ADAPTIVE, CHOSEN = "Adaptive (recommended)", "Chosen levels"
SURE = 0.05
"""Half a confidence interval that counts as narrow, as `core.profiling.stopping` aims for."""


def profile_results(known: list[Profile]) -> None:
    """Draw the newest profiles, say where each comes from and how well its model fits."""
    measured = [p for p in known if p.levels]
    latency = st.segmented_control(
        "Latency",
        list(charts_profiles.LATENCY_AXES),
        default="E2E mean",
        required=True,
        key="profile_latency",
        help="E2E: whole answer. TTFT: time to first token. TPOT: time per further token.",
    )
    frame = tables_profiles.levels_frame(measured)
    predicted = tables_profiles.predicted_frame(measured)
    st.plotly_chart(
        charts_profiles.profile_curves(frame, predicted, str(latency)),
        key="profile_curves",
        config={"displayModeBar": False},
        alt="Latency over throughput per replica kind; numbers are requests in flight",
    )
    st.caption(
        "Numbers at the points: requests kept in flight. Diamonds: Poisson arrivals. Dotted "
        "lines: what the fitted step-time model predicts, for means."
    )
    for profile in measured:
        _provenance(profile)
    _levels_table(frame)
    _fit_details([p for p in measured if p.step and p.fit])


def _provenance(profile: Profile) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{tables.profile_name(profile)}**", width="content")
        components.provenance(profile.provenance.value, moment(profile.measured_at))
        started = duration(profile.startup_s)
        st.caption(
            f"{profile.engine} on {profile.host}, ready {started} after start. "
            f"{_convergence(profile.levels)} {_unreached(profile)}",
            width="content",
        )


def _convergence(levels: Sequence[LoadLevel]) -> str:
    """How many levels have means that are sure to a few percent."""
    told = [level.half_width for level in levels if level.half_width is not None]
    if not told:
        return ""
    narrow = sum(half_width <= SURE for half_width in told)
    return (
        f"{narrow} of {len(levels)} levels are sure to ± {percent(SURE, 0)}, "
        f"the least sure to ± {percent(max(told), 0)}."
    )


def _unreached(profile: Profile) -> str:
    """Say so when the climb ended before throughput did."""
    at_knee, limits = knee(profile.levels), profile.engine_limits
    most = max((x.concurrency for x in profile.levels if x.rate_rps is None), default=0)
    if at_knee is None or limits is None or at_knee.concurrency < most:
        return ""
    if most >= limits.max_num_seqs:
        return ""
    return f"Throughput still grew at {most} in flight: what it sustains may be more."


def _fit_details(fitted: list[Profile]) -> None:
    """Show the step-time model of one profile: how well it fits, and what it says."""
    if not fitted:
        return
    st.subheader("How well the fitted model predicts", anchor=False)
    names = [tables.profile_name(profile) for profile in fitted]
    chosen = st.selectbox("Replica", names, key="profile_fit", label_visibility="collapsed")
    profile = fitted[names.index(chosen)]
    _goodness(profile)
    times, errors = st.columns([2, 3])
    with times:
        _step_times(profile)
    with errors:
        _residuals(profile)


def _goodness(profile: Profile) -> None:
    if profile.fit is None:
        return
    fit, limits = profile.fit, profile.engine_limits
    with st.container(horizontal=True):
        st.metric(
            "Variance explained (R²)",
            percent(fit.r_squared),
            help="Of the logarithm of end-to-end times",
            width="content",
        )
        st.metric(
            "Typical error, E2E",
            f"± {percent(fit.e2e_median_error)}",
            width="content",
            help=f"Median over {fit.requests} measured answers, each simulated with the "
            "others that were under way",
        )
        st.metric("Typical error, TTFT", f"± {percent(fit.ttft_median_error)}", width="content")
        st.metric(
            "Speed between loads",
            f"± {percent(fit.speed_variation)}",
            width="content",
            help="How much faster or slower the replica was from one load to the next: what it "
            "shares its machine with. Simulated latencies average over it",
        )
        if limits is not None:
            st.metric(
                "Cache",
                f"{limits.kv_tokens:,} tokens",
                help=f"{limits.kv_blocks:,} blocks of {limits.block_size} tokens, as vLLM reports",
                width="content",
            )
            st.metric(
                "A step takes at most",
                f"{limits.max_num_seqs} sequences",
                help=f"and {limits.max_num_batched_tokens:,} tokens",
                width="content",
            )


def _step_times(profile: Profile) -> None:
    if profile.step is None:
        return
    st.dataframe(
        tables_profiles.step_times_frame(profile.step),
        hide_index=True,
        alt="Step times of the fitted model in milliseconds",
        column_config={
            "what": "A step of the engine takes",
            "takes_ms": st.column_config.NumberColumn("ms", format="%.3f"),
        },
    )
    st.caption(
        "A step computes the next token of every sequence in the batch, and prompts. What takes "
        "no measurable time is left out."
    )


def _residuals(profile: Profile) -> None:
    answers = queries.residuals(profile)
    if not answers:
        st.caption("The single answers of this profile were not kept.")
        return
    st.plotly_chart(
        charts_profiles.residuals(tables_profiles.residuals_frame(answers)),
        key="profile_residuals",
        config={"displayModeBar": False},
        alt="Error of the prediction of each measured answer; the band is ± 10 %",
    )
    st.caption("One point per measured answer, warm-up included; the band is ± 10 %.")


def _levels_table(frame: object) -> None:
    number = st.column_config.NumberColumn
    st.dataframe(
        frame,
        hide_index=True,
        alt="Load levels of the newest profiles",
        column_order=[
            "profile",
            "provenance",
            "load",
            "requests_per_s",
            "output_tokens_per_s",
            "half_width_percent",
            "ttft_p50_ms",
            "ttft_p95_ms",
            "tpot_p50_ms",
            "tpot_p95_ms",
            "e2e_p50_ms",
            "e2e_p95_ms",
            "e2e_p99_ms",
            "requests",
            "errors",
            "memory_gib",
        ],
        column_config={
            "profile": st.column_config.TextColumn("Replica", pinned=True),
            "provenance": "Numbers are",
            "load": st.column_config.TextColumn(
                "Load", help="Requests kept in flight, or Poisson arrivals"
            ),
            "requests_per_s": number("Requests/s", format="%.2f"),
            "output_tokens_per_s": number("Tokens/s", format="%.0f"),
            "half_width_percent": number(
                "± (95 %)",
                format="%.0f %%",
                help="Half the 95 % confidence interval of the mean latency or the throughput",
            ),
            "ttft_p50_ms": number("TTFT P50 (ms)", format="%.0f"),
            "ttft_p95_ms": number("TTFT P95 (ms)", format="%.0f"),
            "tpot_p50_ms": number("TPOT P50 (ms)", format="%.1f"),
            "tpot_p95_ms": number("TPOT P95 (ms)", format="%.1f"),
            "e2e_p50_ms": number("E2E P50 (ms)", format="%.0f"),
            "e2e_p95_ms": number("E2E P95 (ms)", format="%.0f"),
            "e2e_p99_ms": number("E2E P99 (ms)", format="%.0f"),
            "requests": "Requests",
            "errors": "Errors",
            "memory_gib": number("Memory (GiB)", format="%.2f"),
        },
    )


def profile_form() -> None:
    """Ask for a profile of a model on a device type; says what it costs before the click."""
    components.outcome("profile")
    models = [m.name for m in queries.models()]
    skus = queries.skus(queries.devices())
    sets = queries.query_sets()
    if not (models and skus and sets):
        missing = "a model" if not models else "a device" if not skus else "a query set"
        page = "overview" if not models else "inventory" if not skus else "workload"
        components.empty_state(
            f"Nothing to measure yet: {missing} is missing.",
            "A profile drives a model on a device with the queries of a query set. Models are "
            "registered on the next tab, query sets uploaded on Workload & quality.",
            page,
        )
        return
    # Not a form: a form's widgets tell their values only once it is sent, too late for the cost.
    with st.container(border=True, key="profile_form"):
        st.selectbox("Model", models, key="profile_model")
        st.selectbox("Device type", skus, key="profile_sku")
        st.selectbox("Query set", sets, key="profile_queries", help="What is asked")
        _levels_wanted()
        _bounds()
        _cost()
        st.button("Start profile", key="profile_start", type="primary", on_click=_request_profile)


def _levels_wanted() -> None:
    how = st.segmented_control(
        "Load levels", [ADAPTIVE, CHOSEN], default=ADAPTIVE, required=True, key="profile_how"
    )
    if how == CHOSEN:
        st.multiselect(
            "Requests in flight", LEVELS, default=[1, 4, 16], key="profile_levels", help="Levels"
        )
        return
    st.caption(
        "Doubles the requests in flight until throughput no longer grows, looks closer at the "
        "bend, then sends Poisson arrivals at 60 % and 85 % of what was sustained."
    )


def _bounds() -> None:
    with st.container(horizontal=True):
        st.number_input(
            "Devices per replica (TP)", 1, 64, 1, key="profile_tp", help="Tensor-parallel ranks"
        )
        st.number_input(
            "Seconds per level",
            1,
            600,
            int(SECONDS_PER_LEVEL),
            key="profile_seconds",
            help="Usual length: a level whose means are sure to ± 5 % ends earlier, one with "
            "hardly any answers lasts longer",
        )
        st.number_input(
            "Measure at most (s)",
            10,
            86_400,
            int(MAX_SECONDS),
            key="profile_most",
            help="No further level begins after so many seconds of load, start not counted",
        )
        st.number_input(
            "Stop above P95 (s)",
            0.01,
            3600.0,
            None,
            key="profile_latency_budget",
            placeholder="no limit",
            help="The climb ends at the first level whose P95 end-to-end latency is higher",
        )


def _cost() -> None:
    chosen = st.session_state
    try:
        cost = queries.profile_cost(
            chosen["profile_model"],
            chosen["profile_sku"],
            int(chosen["profile_tp"]),
            _chosen_levels(),
            float(chosen["profile_seconds"]),
            float(chosen["profile_most"]),
        )
    except BOuteError as error:
        components.show_error(error)
        return
    st.markdown(markdown(_cost_in_words(cost)))


def _cost_in_words(cost: ProfileCost) -> str:
    seen = "as when last profiled" if cost.startup_seen else "assumed"
    held = f"{cost.devices} device{'s' if cost.devices > 1 else ''}"
    assumption = f"{held}, {duration(cost.startup_s)} to start ({seen}), {cost.levels} levels"
    if cost.cut_short:
        assumption += ", not all within the limit"
    if cost.usd_per_hour is None:
        return (
            f"**About {duration(cost.expected_s)}**, at most {duration(cost.most_s)} "
            f"({assumption}). No price is set for this device type: set one on Inventory to see "
            "dollars."
        )
    return (
        f"**About {usd(cost.expected_usd)} and {duration(cost.expected_s)}**, at most "
        f"{usd(cost.most_usd)} and {duration(cost.most_s)} ({assumption}, "
        f"{usd(cost.usd_per_hour)}/h per device)."
    )


def _chosen_levels() -> tuple[int, ...] | None:
    """Levels the operator chose; None to climb. A choice of none is refused by the service."""
    chosen = st.session_state
    return tuple(chosen["profile_levels"]) if chosen["profile_how"] == CHOSEN else None


def _request_profile() -> None:
    chosen = st.session_state
    attempt(
        "profile",
        "The profile waits for its turn.",
        profiles.request_profile,
        uow(),
        chosen["profile_model"],
        chosen["profile_sku"],
        utc_now(),
        tp=int(chosen["profile_tp"]),
        query_set=chosen["profile_queries"],
        concurrencies=_chosen_levels(),
        seconds_per_level=float(chosen["profile_seconds"]),
        max_seconds=float(chosen["profile_most"]),
        latency_budget_s=chosen["profile_latency_budget"],
    )
