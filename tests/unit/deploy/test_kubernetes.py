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

from imagegen import __version__
from imagegen.engine.settings import EngineSettings
from imagegen.images.input import ssrf
from imagegen.launch import supervise
from imagegen.openai.command_line import parse_command_line
from tests.unit.deploy.kustomization import Manifest, render

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
OVERLAYS = ["gpu", "multi-gpu", "cpu", "kserve"]
VERSIONS = ["1.33", "1.34", "1.35", "1.36", "1.37"]  # docs/operations.md names the first
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
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


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_images_are_of_this_release(overlay: str) -> None:
    for container in _containers(overlay):
        assert container["image"].partition(":")[2].removesuffix("-cpu") == __version__


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


@pytest.mark.parametrize("overlay", ["gpu", "multi-gpu", "cpu"])
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


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_supervisor_takes_its_arguments(overlay: str) -> None:
    arguments = _containers(overlay)[0]["args"]
    assert arguments[:2] == ["imagegen", "supervise"]
    given = supervise.parser().parse_args(arguments[2:])
    assert (given.http_port, given.status_port, given.drain_timeout_s) == (8000, 8003, 30)
    # What is under way when TERM comes is finished before the pod is killed.
    spec = _one(overlay, "InferenceService")["spec"]["predictor"] if overlay == "kserve" else _pod(overlay)
    drains = 1 if overlay == "kserve" else 2  # the frontend's, and then the server's
    assert spec["terminationGracePeriodSeconds"] > 5 + drains * given.drain_timeout_s + 10


def test_an_engine_has_the_gpus_of_its_pod() -> None:
    (triton,) = _pod("multi-gpu")["initContainers"]
    given = supervise.parser().parse_args(triton["args"][2:])
    devices = EngineSettings.model_validate({"model": "any", "devices": dict(given.set)["diffusion.devices"]}).devices
    for kind in ("requests", "limits"):
        assert int(triton["resources"][kind]["nvidia.com/gpu"]) == len(devices)
    assert devices == tuple(map(str, range(len(devices))))
    assert int(triton["resources"]["requests"]["cpu"]) > len(devices)


def test_the_frontend_takes_its_arguments() -> None:
    arguments = _pod("gpu")["containers"][0]["args"]
    assert arguments[:3] == ["python3", "-m", "imagegen.openai"]
    given = parse_command_line(arguments[3:])
    assert (given.port, given.triton_url) == (9000, "127.0.0.1:8001")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_image_urls_lead_where_the_ssrf_rules_let_them(overlay: str) -> None:
    """Two lines of defence that agree: at the edges of every range that either of them names, and of others."""
    blocks = _egress_blocks(overlay)
    networks = [ipaddress.ip_network(n) for block in blocks for n in [block["cidr"], *block["except"]]]
    networks += [*ssrf._REFUSED_IPV4, *ssrf._REFUSED_IPV6, ssrf._NAT64]
    networks += map(ipaddress.ip_network, ["fc00::/7", "fe80::/10", "ff00::/8", "::/127", "::ffff:0:0/96"])
    edges = {end + step for n in networks for end in (n[0], n[-1]) for step in (-1, 0, 1) if _exists(end, step)}
    for address in edges:
        reached = any(_inside(address, b["cidr"]) and not any(_inside(address, e) for e in b["except"]) for b in blocks)
        if _carries_ipv4(address):
            assert not reached, address  # the guard looks at the address inside
        else:
            assert reached == ssrf.is_public(str(address)), address


def test_the_guards_ranges_are_not_all_there_is() -> None:
    assert ssrf.is_public("1.1.1.1")
    assert not ssrf.is_public("169.254.169.254")


def _egress_blocks(overlay: str) -> list[Any]:
    egress = _one(overlay, "NetworkPolicy")["spec"]["egress"]
    return [peer["ipBlock"] for rule in egress for peer in rule["to"] if "ipBlock" in peer]


def _exists(address: Address, step: int) -> bool:
    return 0 <= int(address) + step < int(2**address.max_prefixlen)


def _inside(address: Address, network: str) -> bool:
    found: bool = address in ipaddress.ip_network(network)
    return found


def _carries_ipv4(address: Address) -> bool:
    return _inside(address, "::ffff:0:0/96") or _inside(address, "64:ff9b::/96")
