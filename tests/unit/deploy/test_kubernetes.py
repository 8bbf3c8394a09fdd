"""The manifests are what Kubernetes' published schemas allow, and their parts fit together and the programs they start.

Kinds of operators (ServiceMonitor, PrometheusRule, ServingRuntime, InferenceService) have no published schema here: of
those, what is Kubernetes' own (containers, volumes) is validated, and the rest only as far as it names other parts.
"""

from __future__ import annotations

import ipaddress
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from openai_frontend.__main__ import _parser as frontend_parser
from tests.unit.deploy.kustomization import Manifest, render

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
OVERLAYS = ["gpu", "cpu", "kserve"]
VERSIONS = ["1.33", "1.34", "1.35", "1.36", "1.37"]  # docs/operations.md names the first
PRIVATE = """
10.1.2.3 172.16.0.1 172.31.255.255 192.168.1.1 127.0.0.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255
198.18.0.1 ::1 fe80::1 fd00::1 ff02::1 ::ffff:10.0.0.1 64:ff9b::a00:1 2002:a00:1::1 2001:0:a00:1::1
""".split()
OPERATORS_KINDS = {"ServiceMonitor", "PrometheusRule", "ServingRuntime", "InferenceService"}


def _rendered(overlay: str) -> list[Manifest]:
    return render(DEPLOY / "kubernetes" / overlay)


def _one(overlay: str, kind: str) -> Any:
    (manifest,) = (m for m in _rendered(overlay) if m["kind"] == kind)
    return manifest


def _pod(overlay: str) -> Any:
    return _one(overlay, "Deployment")["spec"]["template"]["spec"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_schemas_allow_the_manifests(overlay: str, version: str) -> None:
    own = [manifest for manifest in _rendered(overlay) if manifest["kind"] not in OPERATORS_KINDS]
    assert own
    for manifest in own:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_wrong_manifest_is_noticed() -> None:
    deployment = _one("gpu", "Deployment")
    deployment["spec"]["template"]["spec"]["initContainers"][0]["restartPolicies"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, VERSIONS[0], strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_serving_runtime_has_a_valid_pod(version: str) -> None:
    spec = _one("kserve", "ServingRuntime")["spec"]
    pod = {"containers": spec["containers"], "volumes": spec["volumes"]}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "imagegen"}, "spec": pod}
    kubernetes_validate.validate(manifest, version, strict=True)
    assert _one("kserve", "InferenceService")["spec"]["predictor"]["model"]["runtime"] == "imagegen-triton"


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubectl_reads_the_overlay_as_we_do(overlay: str) -> None:
    printed = subprocess.check_output(["kubectl", "kustomize", str(DEPLOY / "kubernetes" / overlay)], timeout=60)
    theirs = list(yaml.safe_load_all(printed))
    names = [(m["kind"], m["metadata"]["name"]) for m in theirs]
    assert sorted(names) == sorted((m["kind"], m["metadata"]["name"]) for m in _rendered(overlay))
    for manifest in _rendered(overlay):
        assert manifest in theirs


def _containers(overlay: str) -> list[Any]:
    if overlay == "kserve":
        return list(_one(overlay, "ServingRuntime")["spec"]["containers"])
    return [*_pod(overlay)["initContainers"], *_pod(overlay)["containers"]]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_containers_can_do_no_more_than_they_need(overlay: str) -> None:
    for container in _containers(overlay):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_triton_has_shared_memory_and_room_to_write(overlay: str) -> None:
    pod = _one(overlay, "ServingRuntime")["spec"] if overlay == "kserve" else _pod(overlay)
    volumes = {volume["name"]: volume["emptyDir"] for volume in pod["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in _containers(overlay)[0]["volumeMounts"]}
    assert mounts["/dev/shm"]["medium"] == "Memory"
    assert set(mounts) == {"/dev/shm", "/tmp", "/cache"}


@pytest.mark.parametrize("overlay", ["gpu", "cpu"])
def test_the_parts_name_each_other(overlay: str) -> None:
    deployment, service = _one(overlay, "Deployment"), _one(overlay, "Service")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        _one(overlay, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        _one(overlay, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        _one(overlay, "ServiceMonitor")["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    assert service["metadata"]["labels"].items() >= labels.items()
    numbers = {port["name"]: port["containerPort"] for c in _containers(overlay) for port in c["ports"]}
    assert {port["targetPort"]: port["port"] for port in service["spec"]["ports"]} == numbers
    monitored = {endpoint["port"] for endpoint in _one(overlay, "ServiceMonitor")["spec"]["endpoints"]}
    assert monitored == {"metrics", "status", "openai"}
    for container in _containers(overlay):
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["httpGet"]["port"] in {port["name"] for port in container["ports"]}


def test_the_autoscaler_asks_for_what_the_adapter_serves() -> None:
    asked = {metric["pods"]["metric"]["name"] for metric in _one("gpu", "HorizontalPodAutoscaler")["spec"]["metrics"]}
    adapter = yaml.safe_load((DEPLOY / "kubernetes" / "prometheus-adapter.yaml").read_text())
    assert asked == {rule["name"]["as"] for rule in adapter["rules"]["custom"]}


def test_the_frontend_takes_its_arguments() -> None:
    arguments = _pod("gpu")["containers"][0]["args"]
    assert arguments[:3] == ["python3", "-m", "openai_frontend"]
    given = frontend_parser().parse_args(arguments[3:])
    assert (given.port, given.triton_url) == (9000, "127.0.0.1:8001")


@pytest.mark.parametrize("address", PRIVATE)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_image_url_leads_into_a_private_network(overlay: str, address: str) -> None:
    assert not _may_be_reached(overlay, address)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111"])
def test_image_urls_lead_to_public_addresses(address: str) -> None:
    assert _may_be_reached("gpu", address)


def _may_be_reached(overlay: str, address: str) -> bool:
    blocks = [
        peer["ipBlock"]
        for rule in _one(overlay, "NetworkPolicy")["spec"]["egress"]
        for peer in rule["to"]
        if "ipBlock" in peer
    ]
    assert blocks
    ip = ipaddress.ip_address(address)

    def inside(network: str) -> bool:
        return ip in ipaddress.ip_network(network)

    return any(inside(block["cidr"]) and not any(map(inside, block["except"])) for block in blocks)
