"""compose.yaml names what is there, and starts the programs with arguments that they take."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from imagegen import __version__
from imagegen.launch import supervise
from imagegen.openai.command_line import parse_command_line

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
TEXT = (DEPLOY / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def test_every_service_is_locked() -> None:
    for service in SERVICES.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_images_have_versions() -> None:
    assert f"imagegen-triton:{__version__}" in SERVICES["triton"]["image"]
    for service in SERVICES.values():
        assert re.search(r":v?\d", service["image"])


def test_triton_has_shared_memory_and_no_published_port() -> None:
    assert SERVICES["triton"]["shm_size"] == "2gb"
    assert "ports" not in SERVICES["triton"]


def test_nothing_without_a_key_of_its_own_is_published_beyond_this_machine() -> None:
    published = {name: port for name, service in SERVICES.items() for port in service.get("ports", [])}
    assert {name for name, port in published.items() if not port.startswith("127.0.0.1:")} == {"openai", "store"}


def test_mounted_files_are_there() -> None:
    mounted = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])]
    for source in mounted:
        assert (DEPLOY / source).exists() if source.startswith("./") else source in COMPOSE["volumes"]


def test_services_wait_for_services() -> None:
    for service in SERVICES.values():
        assert set(service.get("depends_on", {})) <= set(SERVICES)


def test_every_variable_is_in_the_example() -> None:
    example = {line.split("=")[0] for line in (DEPLOY / "example.env").read_text().splitlines() if "=" in line}
    assert set(re.findall(r"\$\{(\w+)", TEXT)) - {"IMAGE"} == example


def test_the_store_is_configured_in_json() -> None:
    configured = json.loads(COMPOSE["configs"]["store"]["content"])
    anonymous, owner = configured["identities"]
    assert anonymous == {"name": "anonymous", "actions": ["Read:images"]}
    assert owner["credentials"][0]["accessKey"] == SERVICES["triton"]["environment"]["AWS_ACCESS_KEY_ID"]


def test_prometheus_asks_the_services() -> None:
    configured = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
    targets = [t for job in configured["scrape_configs"] for group in job["static_configs"] for t in group["targets"]]
    assert {target.split(":")[0] for target in targets} == {"triton", "openai"}


def test_the_frontend_takes_its_arguments() -> None:
    command = SERVICES["openai"]["command"]
    assert command[:3] == ["python3", "-m", "imagegen.openai"]
    assert parse_command_line(command[3:]).triton_url == "triton:8001"


def test_the_supervisor_takes_its_arguments_and_sets_the_store_once() -> None:
    command = SERVICES["triton"]["command"]
    assert command[:2] == ["imagegen", "supervise"]
    given = supervise.parser().parse_args(command[2:])
    settings = dict(given.set)
    assert [name for name, value in settings.items() if value == "s3://images"] == ["image_postprocess.output_url"]
    assert int(SERVICES["triton"]["stop_grace_period"].removesuffix("s")) > given.drain_timeout_s + 10


@pytest.mark.parametrize("name", ["triton"])
def test_a_gpu_is_added_to_a_service_that_is_there(name: str) -> None:
    with_gpu = yaml.safe_load((DEPLOY / "compose.gpu.yaml").read_text())
    assert set(with_gpu["services"]) == {name} <= set(SERVICES)
