"""Every read of the dashboard, cached for a moment; `refresh` forgets all after a write."""

import functools
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import streamlit as st

from core.domain.cascade import CascadeEstimate
from core.domain.catalog import ModelSpec
from core.domain.check import Drift
from core.domain.deployment import Deployment, Replica
from core.domain.fleet import Device, Price
from core.domain.ids import utc_now
from core.domain.job import Job
from core.domain.plan import PlanScore, ServingPlan
from core.domain.profile import Profile
from core.domain.quality import QualityEstimate, QuerySet
from core.domain.router_report import RouterReport
from core.domain.study import Study, Trial
from core.domain.tenant import ApiKey, Tenant
from core.domain.traffic import RequestRecord
from core.domain.workload import Workload
from core.errors import NotFound
from core.estimate.traffic import generated
from core.reporting import costs
from core.routing.reading import read_classifier
from core.services import (
    accuracy,
    cascades,
    catalog,
    checks,
    deployments,
    inventory,
    jobs,
    planning,
    profiles,
    quality,
    routing,
    scenarios,
    studies,
    tenants,
    whatif,
    workloads,
)
from core.services.profiles import ProfileCost, Residual
from core.services.tenants import Month
from core.services.whatif import Change
from ui import tables_traffic
from ui.context import uow

TTL_S = 2


def refresh() -> None:
    """Forget every cached read; called after each write of this dashboard."""
    st.cache_data.clear()


@st.cache_data(ttl=TTL_S, show_spinner=False)
def devices() -> list[Device]:
    """Devices by node and index."""
    return inventory.devices(uow())


@st.cache_data(ttl=TTL_S, show_spinner=False)
def prices() -> list[Price]:
    """Every price, newest first."""
    return inventory.price_history(uow())[::-1]


@st.cache_data(ttl=TTL_S, show_spinner=False)
def current_prices() -> dict[str, float]:
    """Price in force per SKU, $ per device-hour."""
    return inventory.current_prices(uow(), utc_now())


@st.cache_data(ttl=TTL_S, show_spinner=False)
def models() -> list[ModelSpec]:
    """Registered models by name."""
    return catalog.models(uow())


@st.cache_data(ttl=TTL_S, show_spinner=False)
def profile_history() -> list[Profile]:
    """Every profile, newest first."""
    return profiles.profiles(uow())


@st.cache_data(ttl=TTL_S, show_spinner=False)
def latest_profiles() -> list[Profile]:
    """The newest profile per replica kind."""
    return profiles.latest_profiles(uow())


@st.cache_data(ttl=TTL_S, show_spinner=False, max_entries=20)
def profile_cost(
    model: str,
    sku: str,
    tp: int,
    concurrencies: tuple[int, ...] | None,
    seconds_per_level: float,
    max_seconds: float,
) -> ProfileCost:
    """What a profile is expected to take.

    Raises:
        NotFound: The model was removed meanwhile.
    """
    return profiles.profile_cost_estimate(
        uow(),
        model,
        sku,
        utc_now(),
        tp=tp,
        concurrencies=concurrencies,
        seconds_per_level=seconds_per_level,
        max_seconds=max_seconds,
    )


@st.cache_data(ttl=600, show_spinner="Replaying what was measured", max_entries=20)
def residuals(profile: Profile) -> list[Residual]:
    """What the fitted model of a profile says to each measured answer."""
    return profiles.residuals(uow(), profile)


@st.cache_data(ttl=TTL_S, show_spinner=False)
def query_sets() -> list[str]:
    """Names of the query sets."""
    return quality.query_sets(uow())


@st.cache_data(ttl=TTL_S, show_spinner=False, max_entries=20)
def query_set(name: str) -> QuerySet:
    """One query set."""
    return quality.query_set(uow(), name)


@st.cache_data(ttl=TTL_S, show_spinner=False)
def estimates() -> list[QualityEstimate]:
    """Quality per (model, query class)."""
    return quality.estimates(uow())


@st.cache_data(ttl=TTL_S, show_spinner=False)
def known_cascades() -> list[CascadeEstimate]:
    """Cascades that outcomes speak for."""
    return cascades.cascades(uow())


@st.cache_data(ttl=600, show_spinner=False, max_entries=20)
def confident_answers(query_class: str, model: str) -> list[tuple[float, float]]:
    """Confidence and score of a model's answers to a class."""
    return cascades.confident_answers(uow(), query_class, model)


@st.cache_data(ttl=TTL_S, show_spinner=False)
def classifier_facts() -> dict[str, Any] | None:
    """What is known of the newest query classifier."""
    return quality.classifier_facts(uow())


@st.cache_data(ttl=TTL_S, show_spinner=False)
def router_report() -> RouterReport | None:
    """How right the router's predictions are, and what they buy; None when that is unknown."""
    return routing.router_report(uow())


@st.cache_data(ttl=TTL_S, show_spinner=False)
def drifts() -> list[Drift]:
    """Live agreement with the best models, breaches first."""
    return checks.drifts(uow(), utc_now())


@st.cache_data(ttl=TTL_S, show_spinner=False)
def all_workloads() -> list[Workload]:
    """Workloads, newest first."""
    return workloads.workloads(uow())


@st.cache_data(ttl=TTL_S, show_spinner=False)
def all_studies() -> list[Study]:
    """Studies, newest first."""
    return studies.studies(uow())


@st.cache_data(ttl=TTL_S, show_spinner=False, max_entries=50)
def trials(study_id: str) -> list[Trial]:
    """Trials of one study by number."""
    return studies.trials(uow(), study_id)


def workload(workload_id: str) -> Workload | None:
    """One workload; None when it is unknown."""
    return next((w for w in all_workloads() if w.workload_id == workload_id), None)


@st.cache_data(ttl=600, show_spinner=False, max_entries=10)
def traffic_picture(workload: Workload) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Arrivals per moment and pairs of lengths of a workload; see `ui.tables_traffic`.

    Without a trace they are an example drawn from the description.
    """
    trace = workloads.workload_trace(uow(), workload.workload_id)
    if trace is None:
        trace = generated(workload, tables_traffic.EXAMPLE_REQUESTS, seed=1)
    return tables_traffic.arrivals_frame(trace), tables_traffic.lengths_frame(trace)


def prompt_classifier() -> Callable[[str], str] | None:
    """What gives prompts a query class: the newest classifier, read when the first one comes.

    None when none was trained.
    """
    with uow()() as work:
        newest = work.classifiers.latest()
    if newest is None:
        return None
    opened = functools.cache(lambda: read_classifier(newest[1]))
    return lambda prompt: opened().classify(prompt)[0]


def study(study_id: str | None) -> Study | None:
    """One study; None when it is unknown, such as one named by an old link."""
    return next((s for s in all_studies() if s.study_id == study_id), None)


def trial(study_id: str | None, number: int | None) -> Trial | None:
    """One trial; None when it is unknown."""
    if study_id is None or number is None or study(study_id) is None:
        return None
    return next((t for t in trials(study_id) if t.number == number), None)


@st.cache_data(ttl=TTL_S, show_spinner=False, max_entries=20)
def what_if(study: Study, known: Sequence[Trial], change: Change) -> list[PlanScore]:
    """Trials of a study, scored again as if prices, traffic, limits or devices were others.

    Raises:
        InvalidInput: The change leaves no traffic.
        NotReady: What the study was made of is gone, such as a price or a profile.
    """
    facts = planning.load_facts(uow(), study.workload_id, study.limits, utc_now())
    plans = [trial.plan for trial in known]
    return whatif.re_evaluated(facts, plans, change, _latency_ratios(study, known))


@st.cache_data(ttl=600, show_spinner=False, max_entries=20)
def _latency_ratios(study: Study, known: Sequence[Trial]) -> list[float]:
    """What the study knows better of each plan's latency than the analytic estimate."""
    facts = planning.load_facts(uow(), study.workload_id, study.limits, utc_now())
    plans, scores = [trial.plan for trial in known], [trial.predicted for trial in known]
    return whatif.latency_ratios(facts, plans, scores)


@st.cache_data(ttl=TTL_S, show_spinner=False, max_entries=5)
def scenario(study: Study, plan: ServingPlan | None, change: Change) -> str:
    """A study's problem after a change, as the text of a scenario file.

    Raises:
        NotReady: What the study was made of is gone, such as a price or a profile.
    """
    return scenarios.export_scenario(uow(), study.study_id, utc_now(), plan=plan, change=change)


@st.cache_data(ttl=TTL_S, show_spinner=False)
def current_deployment() -> Deployment | None:
    """The plan that is wanted now: rolling out or active."""
    return deployments.current(uow())


@st.cache_data(ttl=TTL_S, show_spinner=False)
def all_deployments() -> list[Deployment]:
    """Deployments, newest first."""
    return deployments.deployments(uow())


@st.cache_data(ttl=TTL_S, show_spinner=False)
def replicas() -> list[Replica]:
    """Replicas, newest first, stopped ones included."""
    return deployments.replicas(uow())


@st.cache_data(ttl=TTL_S, show_spinner=False)
def all_jobs() -> list[Job]:
    """The newest jobs."""
    return jobs.jobs(uow())


def active_jobs() -> list[Job]:
    """Queued and running jobs, oldest first."""
    return [job for job in reversed(all_jobs()) if job.active]


def job(job_id: str) -> Job | None:
    """One job; None when it is unknown."""
    try:
        return jobs.get(uow(), job_id)
    except NotFound:
        return None


@st.cache_data(ttl=TTL_S, show_spinner=False, max_entries=10)
def requests_since(hours: float) -> list[RequestRecord]:
    """Request records of the last hours, oldest first."""
    now = utc_now()
    return requests_between(now - timedelta(hours=hours), now + timedelta(seconds=1))


def requests_between(start: datetime, end: datetime) -> list[RequestRecord]:
    """Request records of a window, oldest first."""
    with uow()() as work:
        return work.requests.between(start, end)


@st.cache_data(ttl=TTL_S, show_spinner=False, max_entries=5)
def latest_requests(limit: int = 50) -> list[RequestRecord]:
    """The newest request records."""
    with uow()() as work:
        return work.requests.latest(limit)


@st.cache_data(ttl=TTL_S, show_spinner=False)
def answered_requests() -> int:
    """How many requests the gateway has answered."""
    with uow()() as work:
        return sum(day.requests for day in work.requests.totals_by_day())


@st.cache_data(ttl=10, show_spinner=False)
def cost_report() -> costs.CostReport:
    """What was spent so far."""
    return costs.cost_report(uow(), utc_now())


def skus(known: Sequence[Device]) -> list[str]:
    """Device types of the fleet, sorted."""
    return sorted({device.sku for device in known})


@st.cache_data(ttl=10, show_spinner=False)
def accuracy_pairs() -> list[accuracy.Pair]:
    """Predictions that have met reality, newest first."""
    return accuracy.pairs(uow(), utc_now())


@st.cache_data(ttl=TTL_S, show_spinner=False)
def all_tenants() -> list[Tenant]:
    """Tenants by name."""
    return tenants.tenants(uow())


@st.cache_data(ttl=TTL_S, show_spinner=False)
def api_keys() -> list[ApiKey]:
    """Every API key, oldest first."""
    return tenants.keys(uow())


@st.cache_data(ttl=TTL_S, show_spinner=False)
def usage_of_month() -> dict[str, Month]:
    """What each tenant used in this UTC month."""
    return tenants.usage_of_month(uow(), utc_now())
