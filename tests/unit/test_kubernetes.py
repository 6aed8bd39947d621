"""Manifests against the published schemas, and the plan that comes back out of them."""

import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from core.domain.catalog import ModelSpec
from core.domain.deployment import DeploymentState
from core.domain.plan import ReplicaKind, Route, ServingPlan, make_plan
from core.entrypoints import cli
from core.errors import InvalidInput
from core.ports import UnitOfWorkFactory
from core.serving.gateway.fixed import FixedFleet
from core.serving.kubernetes import ClusterOptions, as_yaml, kind_name, manifests, plan_document
from tests.contract import samples

SMALL = ReplicaKind("small", "NVIDIA L40S")
LARGE = ReplicaKind("large", "NVIDIA H100 80GB HBM3", tp=4, pp=2)
PLAN = make_plan(
    {SMALL: 3, LARGE: 1}, {"easy": {"small": 1.0}, "hard": {"large": 0.6, "small": 0.4}}
)
MODELS = {
    "small": ModelSpec("small", "meta-llama/Llama-3.1-8B", 1, 1, 8192, 64, samples.NOW),
    "large": ModelSpec("large", "meta-llama/Llama-3.1-70B", 1, 1, 4096, 32, samples.NOW),
}
OPTIONS = ClusterOptions("registry.example/boute:1", namespace="llm")
VERSIONS = ("1.29", "1.33")


def made(
    plan: ServingPlan = PLAN,
    models: dict[str, ModelSpec] = MODELS,
    options: ClusterOptions = OPTIONS,
) -> list[dict[str, Any]]:
    """Manifests as a cluster would read them."""
    return list(yaml.safe_load_all(as_yaml(manifests(plan, models, options))))


def named(found: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    [one] = [m for m in found if m["kind"] == kind and m["metadata"]["name"] == name]
    return one


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_meets_the_published_schema(version: str) -> None:
    on_cpu = ReplicaKind("small", "cpu-core", tp=2)
    local = {"small": ModelSpec("small", "weights/small", 1, 1, 512, 4, samples.NOW, True)}
    options = ClusterOptions("boute:1", models_claim="models")
    plans = made() + made(make_plan({on_cpu: 1}, {"easy": {"small": 1.0}}), local, options)
    assert {m["kind"] for m in plans} == {
        "Deployment",
        "Service",
        "ConfigMap",
        "PodDisruptionBudget",
    }
    for manifest in plans:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_schema_finds_what_is_wrong() -> None:
    [first, *_] = made()
    first["spec"]["replicas"] = "three"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(first, VERSIONS[0], strict=True)


def test_replicas_and_their_devices_are_the_plans() -> None:
    found = made()
    deployment = named(found, "Deployment", kind_name(LARGE))
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert deployment["spec"]["replicas"] == 1
    assert container["resources"]["limits"] == {"nvidia.com/gpu": 8}
    pod = deployment["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    arguments = container["args"]
    given = dict(zip(arguments[::2], arguments[1::2], strict=False))
    assert given["--model"] == "meta-llama/Llama-3.1-70B"
    assert (given["--tensor-parallel-size"], given["--pipeline-parallel-size"]) == ("4", "2")
    assert named(found, "Deployment", kind_name(SMALL))["spec"]["replicas"] == 3


def test_selectors_find_their_own_pods_only() -> None:
    found = made()
    pods = [
        m["spec"]["template"]["metadata"]["labels"] for m in found if m["kind"] == "Deployment"
    ]
    for manifest in found:
        if manifest["kind"] == "ConfigMap":
            continue
        selector = manifest["spec"]["selector"]
        wanted = selector.get("matchLabels", selector)
        assert sum(wanted.items() <= labels.items() for labels in pods) == 1


def test_every_object_is_in_the_namespace_and_named_once() -> None:
    found = made()
    assert {m["metadata"]["namespace"] for m in found} == {"llm"}
    names = [(m["kind"], m["metadata"]["name"]) for m in found]
    assert len(set(names)) == len(names)
    assert "namespace" not in made(options=ClusterOptions("boute:1"))[0]["metadata"]


CASCADED = make_plan(
    {SMALL: 3, LARGE: 1},
    {"hard": {"large": 1.0}, "easy": {"small": 0.25}},
    [Route("easy", "small", 0.75, "large", -0.123456789012345)],
)


@pytest.mark.parametrize("plan", [PLAN, CASCADED])
def test_gateways_read_the_very_same_plan(tmp_path: Path, plan: ServingPlan) -> None:
    found = made(plan)
    path = tmp_path / "plan.json"
    path.write_text(named(found, "ConfigMap", "boute-plan")["data"]["plan.json"])
    assert FixedFleet(path).plan == plan
    gateway = named(found, "Deployment", "boute-gateway")["spec"]["template"]
    other = made(make_plan({SMALL: 2}, {"easy": {"small": 1.0}}))
    changed = named(other, "Deployment", "boute-gateway")["spec"]["template"]
    digest = "boute/plan-digest"
    assert gateway["metadata"]["annotations"][digest] != changed["metadata"]["annotations"][digest]


def test_a_fixed_fleet_asks_dns(tmp_path: Path) -> None:
    document = plan_document(PLAN)
    hosts = {"small": "127.0.0.1", "large": "no-such-host.invalid"}
    for service in document["services"]:
        service["host"] = hosts[service["model"]]
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(document))
    [replica] = FixedFleet(path).replicas()
    assert (replica.kind, replica.base_url) == (SMALL, "http://127.0.0.1:8000")
    assert [r.replica_id for r in FixedFleet(path).replicas()] == [replica.replica_id]


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'{"plan": {}, "services": []}'])
def test_a_plan_file_that_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"plan\.json"):
        FixedFleet(path)
    with pytest.raises(InvalidInput):
        FixedFleet(tmp_path / "missing.json")


@given(
    st.lists(
        st.tuples(st.text(min_size=1, max_size=90), st.text(max_size=90), st.integers(1, 99)),
        unique=True,
        max_size=6,
    )
)
def test_names_are_dns_labels_and_differ(kinds: list[tuple[str, str, int]]) -> None:
    names = [kind_name(ReplicaKind(model, sku, tp)) for model, sku, tp in kinds]
    assert len(set(names)) == len(names)
    for name in names:
        assert len(name) <= 63
        assert name.isascii()
        assert name.replace("-", "a").isalnum()
        assert name == name.lower().strip("-")


@pytest.mark.parametrize(
    ("models", "says"),
    [
        ({"small": MODELS["small"]}, "no registered model"),
        ({**MODELS, "large": samples.model("large")}, "folder of this machine"),
    ],
)
def test_what_a_cluster_cannot_serve(models: dict[str, ModelSpec], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        manifests(PLAN, models, OPTIONS)


def test_the_command(
    sqlite_uow: UnitOfWorkFactory,
    sqlite_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("BOUTE_DATABASE_URL", sqlite_url)
    with sqlite_uow() as work:
        for model in MODELS.values():
            work.models.save(model)
        work.deployments.add(samples.deployment(plan=PLAN, state=DeploymentState.ACTIVE))
        work.commit()
    command = ["export", "kubernetes", "active", "--gateway-image", "boute:1"]
    assert cli.main(command) == 0
    printed = list(yaml.safe_load_all(capsys.readouterr().out))
    assert len(printed) == 2 * 3 + 4
    output = tmp_path / "plan.yaml"
    command[2] = PLAN.plan_id[:6]
    assert cli.main([*command, "--output", str(output)]) == 0
    assert list(yaml.safe_load_all(output.read_text())) == printed
    assert cli.main([*command, "--output", str(output)]) == 1
    assert cli.main(["export", "kubernetes", "ffff", "--gateway-image", "x"]) == 1
    assert "There is no plan 'ffff'" in capsys.readouterr().err
