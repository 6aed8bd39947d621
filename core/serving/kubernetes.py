"""A plan as Kubernetes manifests: plain dicts that become YAML.

One Deployment and one headless Service per replica kind, and gateways that read the very same
plan from a ConfigMap and find the pods by DNS (see `core.serving.gateway.fixed`). Nothing here
talks to a cluster.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from core.domain.catalog import ModelSpec
from core.domain.plan import PlacedKind, ReplicaKind, Route, ServingPlan
from core.errors import InvalidInput
from core.serving.command_line import HUGGING_FACE_ID, SERVED_NAME
from core.serving.probe_cpu import SKU as CPU_SKU

Manifest = dict[str, Any]

VLLM_IMAGE = "vllm/vllm-openai:v0.32.0"
PORT = 8000
GATEWAY_PORT = 8780
PLAN_FOLDER = "/etc/boute"
PLAN_FILE = "plan.json"
HOME = "/var/lib/boute"
MODELS_FOLDER = "/models"
PLAN_SECRET = "boute-database"
TOKEN_SECRET = "hugging-face"
GPU_MEMORY_SHARE = "0.90"
START_S = 1200
"""Longest start of a replica: it may have to download its model first."""
DRAIN_S = 120
LONGEST_NAME = 52
GATEWAYS = 2


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """What the plan does not say.

    Attributes:
        gateway_image: An image with BOute in it, whose command is `boute`.
        vllm_image: An image with vLLM in it.
        namespace: Of every object; None leaves it to `kubectl`.
        gpu_resource: What the cluster calls a GPU.
        sku_label: Label of nodes that holds the GPU's name, with "-" for spaces.
        models_claim: PersistentVolumeClaim with the folders of models that are not on Hugging
            Face; None when there are none.
    """

    gateway_image: str
    vllm_image: str = VLLM_IMAGE
    namespace: str | None = None
    gpu_resource: str = "nvidia.com/gpu"
    sku_label: str = "nvidia.com/gpu.product"
    models_claim: str | None = None


def manifests(
    plan: ServingPlan, models: Mapping[str, ModelSpec], options: ClusterOptions
) -> list[Manifest]:
    """Return what makes a plan real, in the order to apply it.

    Raises:
        InvalidInput: A model is not registered, cannot be reached from a cluster, or cannot be
            served under its name.
    """
    found: list[Manifest] = []
    for placed in plan.placement:
        model = models.get(placed.kind.model)
        if model is None:
            raise InvalidInput(
                f"The plan names {placed.kind.model!r}, which is no registered model.",
                "Register it on the Models page.",
            )
        found += _replicas(placed, model, plan, options)
    found += _gateway(plan, options)
    if options.namespace:
        for manifest in found:
            manifest["metadata"]["namespace"] = options.namespace
    return found


def as_yaml(found: Sequence[Manifest]) -> str:
    """Return manifests as one YAML stream."""
    return yaml.safe_dump_all(found, sort_keys=False, explicit_start=True, width=99)


def kind_name(kind: ReplicaKind) -> str:
    """Return a name that DNS takes and no other kind has."""
    whole = f"{kind.model}/{kind.sku}/{kind.tp}/{kind.pp}"
    digest = hashlib.sha256(whole.encode()).hexdigest()[:6]
    words = re.sub(r"[^a-z0-9]+", "-", f"{kind.model}-{kind.sku}-tp{kind.tp}-pp{kind.pp}".lower())
    return f"boute-{words.strip('-')[: LONGEST_NAME - 13].strip('-')}-{digest}"


def plan_document(plan: ServingPlan) -> dict[str, Any]:
    """Return what the gateways read: the plan, and where the pods of each kind are."""
    return {
        "plan": {
            "placement": [{**_kind_fields(p.kind), "replicas": p.count} for p in plan.placement],
            "routing": [_route_fields(route) for route in plan.routing],
        },
        "services": [
            {**_kind_fields(p.kind), "host": kind_name(p.kind), "port": PORT}
            for p in plan.placement
        ],
    }


def _route_fields(route: Route) -> dict[str, Any]:
    fields = {"query_class": route.query_class, "model": route.model, "share": route.share}
    if not route.escalate_to:
        return fields
    return {**fields, "escalate_to": route.escalate_to, "threshold": route.threshold}


def _kind_fields(kind: ReplicaKind) -> dict[str, Any]:
    return {"model": kind.model, "sku": kind.sku, "tp": kind.tp, "pp": kind.pp}


def _replicas(
    placed: PlacedKind, model: ModelSpec, plan: ServingPlan, options: ClusterOptions
) -> list[Manifest]:
    name = kind_name(placed.kind)
    labels = _labels("replica", name)
    pod: Manifest = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": DRAIN_S,
        "containers": [_server(placed.kind, model, options)],
        "volumes": _volumes(model, options),
        **_where(placed.kind, options),
    }
    deployment = _object("apps/v1", "Deployment", name, labels)
    deployment["metadata"]["annotations"] = {"boute/plan": plan.plan_id}
    deployment["spec"] = {
        "replicas": placed.count,
        "selector": {"matchLabels": labels},
        # No GPU to spare for a pod more than the plan has.
        "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
        "progressDeadlineSeconds": START_S + 60,
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    service = _object("v1", "Service", name, labels)
    port = {"name": "http", "port": PORT, "targetPort": "http"}
    # Headless: gateways see each pod, and spread work by what each has left.
    service["spec"] = {"clusterIP": "None", "selector": labels, "ports": [port]}
    return [deployment, service, _budget(name, labels)]


def _server(kind: ReplicaKind, model: ModelSpec, options: ClusterOptions) -> Manifest:
    on_cpu = _on_cpu(kind)
    amount = {"cpu": str(kind.devices)} if on_cpu else {options.gpu_resource: kind.devices}
    token = {"secretKeyRef": {"name": TOKEN_SECRET, "key": "token", "optional": True}}
    mounts: list[Manifest] = [{"name": "shm", "mountPath": "/dev/shm"}]
    if _is_local(model):
        mounts.append({"name": "models", "mountPath": MODELS_FOLDER, "readOnly": True})
    health = {"httpGet": {"path": "/health", "port": "http"}}
    return {
        "name": "vllm",
        "image": options.vllm_image,
        "command": ["python3", "-m", "vllm.entrypoints.openai.api_server"],
        "args": _arguments(kind, model, on_cpu=on_cpu),
        "env": [
            {"name": "HF_TOKEN", "valueFrom": token},
            {"name": "VLLM_NO_USAGE_STATS", "value": "1"},
        ],
        "ports": [{"name": "http", "containerPort": PORT}],
        "resources": {"limits": amount, "requests": dict(amount)},
        "volumeMounts": mounts,
        "startupProbe": {**health, "periodSeconds": 5, "failureThreshold": START_S // 5},
        "readinessProbe": {**health, "periodSeconds": 2, "failureThreshold": 2},
        "livenessProbe": {**health, "periodSeconds": 10, "failureThreshold": 6},
        # Gateways learn by DNS that a pod goes; until then it still answers.
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "15"]}}},
        "securityContext": _confined(),
    }


def _arguments(kind: ReplicaKind, model: ModelSpec, *, on_cpu: bool) -> list[str]:
    if not SERVED_NAME.fullmatch(model.name):
        raise InvalidInput(f"{model.name!r} cannot be a model name.", "Register it under another.")
    path = f"{MODELS_FOLDER}/{Path(model.path).name}" if _is_local(model) else model.path
    arguments = [
        *("--model", path, "--served-model-name", model.name),
        *("--host", "0.0.0.0", "--port", str(PORT)),
        *("--max-model-len", str(model.max_model_len)),
        *("--max-num-seqs", str(model.max_num_seqs)),
        *("--tensor-parallel-size", str(kind.tp)),
        *("--pipeline-parallel-size", str(kind.pp)),
        "--disable-uvicorn-access-log",
    ]
    arguments += ["--enforce-eager"] if on_cpu else ["--gpu-memory-utilization", GPU_MEMORY_SHARE]
    return [*arguments, "--trust-remote-code"] if model.trust_remote_code else arguments


def _volumes(model: ModelSpec, options: ClusterOptions) -> list[Manifest]:
    volumes: list[Manifest] = [{"name": "shm", "emptyDir": {"medium": "Memory"}}]
    if not _is_local(model):
        return volumes
    if options.models_claim is None:
        raise InvalidInput(
            f"{model.name!r} is a folder of this machine, {model.path}.",
            "Register it by its Hugging Face id, or copy the folder to a volume and name its "
            "claim with --models-claim.",
        )
    claim = {"claimName": options.models_claim, "readOnly": True}
    return [*volumes, {"name": "models", "persistentVolumeClaim": claim}]


def _where(kind: ReplicaKind, options: ClusterOptions) -> Manifest:
    """Which nodes will do."""
    if _on_cpu(kind):
        return {}
    tolerated = {"key": options.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}
    return {
        "nodeSelector": {options.sku_label: re.sub(r"[^A-Za-z0-9._-]+", "-", kind.sku)},
        "tolerations": [tolerated],
    }


def _gateway(plan: ServingPlan, options: ClusterOptions) -> list[Manifest]:
    name, labels = "boute-gateway", _labels("gateway", "boute-gateway")
    content = json.dumps(plan_document(plan), indent=2, sort_keys=True)
    config = _object("v1", "ConfigMap", "boute-plan", labels)
    config["data"] = {PLAN_FILE: content}
    deployment = _object("apps/v1", "Deployment", name, labels)
    # A gateway reads its plan when it starts: a new plan rolls the gateways.
    annotations = {"boute/plan-digest": hashlib.sha256(content.encode()).hexdigest()[:16]}
    deployment["spec"] = {
        "replicas": GATEWAYS,
        "selector": {"matchLabels": labels},
        "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": {
            "metadata": {"labels": labels, "annotations": annotations},
            "spec": {
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": DRAIN_S,
                "containers": [_gateway_container(options)],
                "volumes": [
                    {"name": "plan", "configMap": {"name": "boute-plan"}},
                    {"name": "home", "emptyDir": {}},
                ],
            },
        },
    }
    service = _object("v1", "Service", name, labels)
    port = {"name": "http", "port": 80, "targetPort": "http"}
    service["spec"] = {"selector": labels, "ports": [port]}
    return [config, deployment, service, _budget(name, labels)]


def _gateway_container(options: ClusterOptions) -> Manifest:
    url = {"secretKeyRef": {"name": PLAN_SECRET, "key": "url"}}
    plain = {
        "BOUTE_HOST": "0.0.0.0",
        "BOUTE_GATEWAY_PORT": str(GATEWAY_PORT),
        "BOUTE_HOME": HOME,
        "BOUTE_PLAN_FILE": f"{PLAN_FOLDER}/{PLAN_FILE}",
    }
    return {
        "name": "gateway",
        "image": options.gateway_image,
        "command": ["boute", "gateway"],
        "env": [
            *({"name": key, "value": value} for key, value in plain.items()),
            {"name": "BOUTE_DATABASE_URL", "valueFrom": url},
        ],
        "ports": [{"name": "http", "containerPort": GATEWAY_PORT}],
        "resources": {
            "requests": {"cpu": "1", "memory": "512Mi"},
            "limits": {"memory": "1Gi"},
        },
        "volumeMounts": [
            {"name": "plan", "mountPath": PLAN_FOLDER, "readOnly": True},
            {"name": "home", "mountPath": HOME},
        ],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 2},
        "livenessProbe": {"httpGet": {"path": "/health", "port": "http"}, "periodSeconds": 10},
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "5"]}}},
        "securityContext": _confined(),
    }


def _budget(name: str, labels: Mapping[str, str]) -> Manifest:
    """At most one pod at a time is taken from a node that is emptied."""
    budget = _object("policy/v1", "PodDisruptionBudget", name, labels)
    budget["spec"] = {"maxUnavailable": 1, "selector": {"matchLabels": dict(labels)}}
    return budget


def _object(version: str, kind: str, name: str, labels: Mapping[str, str]) -> Manifest:
    metadata: Manifest = {"name": name, "labels": dict(labels)}
    return {"apiVersion": version, "kind": kind, "metadata": metadata}


def _labels(component: str, name: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "boute",
    }


def _confined() -> Manifest:
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _on_cpu(kind: ReplicaKind) -> bool:
    return kind.sku == CPU_SKU


def _is_local(model: ModelSpec) -> bool:
    return not HUGGING_FACE_ID.fullmatch(model.path)
