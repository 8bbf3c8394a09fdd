"""Probes get the state as it is, and Prometheus the restarts."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from imagegen.launch.status_endpoint import status_endpoint
from imagegen.launch.supervisor import State, Supervisor
from tests.unit.launch.test_supervisor import Server


class Endpoint:
    """A supervised server, its clock, and what is said of it."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.server = Server()
        self.supervisor = Supervisor(self.server, lambda text: None, clock=lambda: self.now_s)
        self.port = 0

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    made = Endpoint()
    with status_endpoint(made.supervisor, made.server, "127.0.0.1", 0, lambda: made.now_s) as made.port:
        yield made


def test_it_is_ready_only_while_it_serves_and_says_so(endpoint: Endpoint) -> None:
    endpoint.server.ready = True
    assert endpoint.get("/ready") == (503, "starting\n")
    endpoint.supervisor.state = State.SERVING
    assert endpoint.get("/ready") == (200, "serving\n")
    endpoint.server.ready = False
    assert endpoint.get("/ready")[0] == 503
    endpoint.server.ready = True
    endpoint.supervisor.drain()
    assert endpoint.get("/ready") == (503, "shutting down\n")


def test_it_is_live_while_the_supervisor_ticks(endpoint: Endpoint) -> None:
    assert endpoint.get("/live") == (200, "starting\n")
    endpoint.now_s += 31
    assert endpoint.get("/live")[0] == 503


def test_metrics_count_the_restarts(endpoint: Endpoint) -> None:
    endpoint.supervisor.restarts = 2
    lines = endpoint.get("/metrics")[1].splitlines()
    assert {"imagegen_server_restarts_total 2", "imagegen_server_ready 0"} <= set(lines)


def test_other_paths_are_not_found(endpoint: Endpoint) -> None:
    assert endpoint.get("/other")[0] == 404
