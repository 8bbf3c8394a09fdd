"""A container's server runs with the ports, options and variables it was given."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagegen.launch.installed_server import InstalledServer


def test_its_command_has_the_ports_and_further_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = InstalledServer(
        "/bin/tritonserver",
        tmp_path,
        parameters={},
        further=["--log-verbose=1"],
        http_port=1,
        grpc_port=2,
        metrics_port=3,
        drain_timeout_s=30.0,
        ready_timeout_s=60.0,
    )
    expected = ["/bin/tritonserver", "--http-port=1", "--grpc-port=2", "--metrics-port=3", "--log-verbose=1"]
    assert server.program(tmp_path) == expected
    assert server.http_url == "127.0.0.1:1"
    monkeypatch.setenv("IMAGEGEN_TEST", "mine")
    assert server.environment()["IMAGEGEN_TEST"] == "mine"
