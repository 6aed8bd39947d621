"""Serving as pages show it: addresses, replicas, what the gateway measured."""

import json

import streamlit as st

from core.domain.deployment import ReplicaState
from core.domain.study import StudyState
from ui import loop, queries
from ui.context import gateway_url

COLORS = {
    ReplicaState.READY.value: "green",
    ReplicaState.FAILED.value: "red",
    ReplicaState.STARTING.value: "blue",
    ReplicaState.PENDING.value: "gray",
    ReplicaState.DRAINING.value: "orange",
    ReplicaState.STOPPED.value: "gray",
}


def overview_facts() -> loop.Facts:
    """Gather how far the operator has come."""
    devices = queries.devices()
    prices = queries.current_prices()
    done = [s for s in queries.all_studies() if s.state == StudyState.DONE]
    deployment = queries.current_deployment()
    return loop.Facts(
        devices=len(devices),
        unpriced=tuple(sku for sku in queries.skus(devices) if sku not in prices),
        models=len(queries.models()),
        profiles=len(queries.latest_profiles()),
        rated_models=len({e.model for e in queries.estimates()}),
        workloads=len(queries.all_workloads()),
        front=sum(t.on_front for t in queries.trials(done[0].study_id)) if done else 0,
        deployed=deployment.state.value if deployment else "",
        requests=queries.answered_requests(),
        busy=bool(queries.active_jobs()),
    )


def gateway_addresses() -> None:
    """Show where applications send requests, with an example to copy."""
    st.markdown(
        f"One OpenAI-compatible endpoint: `{gateway_url()}/v1`. With `model` set to `auto`, the "
        "gateway picks the model for each query by the running plan."
    )
    st.code(curl_example(gateway_url(), "What is 3 + 4?"), language="bash", wrap_lines=True)


def curl_example(base_url: str, question: str) -> str:
    """Return a shell command that asks the gateway one question."""
    body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": question}]})
    return (
        f"curl -i {base_url}/v1/chat/completions \\\n"
        f"  -H 'Content-Type: application/json' \\\n  -d '{body}'"
    )
