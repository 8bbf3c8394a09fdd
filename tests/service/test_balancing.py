"""Two servers behind nginx: requests are spread, a cancel finds its own, one is replaced under load with no failure."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from imagegen.launch.embedded_frontend import EmbeddedFrontend
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY, other_checkpoint
from imagegen_client import Cancelled, HttpImageClient, ImageClient
from tests.service.conftest import PATIENT
from tests.service.load_balancer import NGINX, LoadBalancer, load_balancer
from tests.service.locust_run import read_csv, start_locust
from tests.service.server_metrics import active, metric, wait_until

pytestmark = pytest.mark.skipif(NGINX is None, reason="no nginx; ./build.sh test installs it")

LOAD_S = 120  # it is ended before


def _server(checkpoint: str) -> EmbeddedServer:
    parameters = {
        **PATIENT,
        "diffusion.warmup_sizes": "none",
        "image_preprocess.allow_private_addresses": "true",
        **other_checkpoint(checkpoint),
    }
    return EmbeddedServer(MODEL_REPOSITORY, parameters=parameters, drain_timeout_s=120)


@pytest.fixture(scope="module")
def servers(random_checkpoint: str) -> Iterator[list[EmbeddedServer]]:
    """Two; a test may put others in their places, which are ended too."""
    with ExitStack() as running:
        two = [running.enter_context(_server(random_checkpoint)) for _ in range(2)]
        running.callback(lambda: [server.stop() for server in two])
        yield two


@pytest.fixture(scope="module")
def balancer(servers: list[EmbeddedServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadBalancer]:
    with load_balancer(tmp_path_factory.mktemp("nginx"), servers) as running:
        yield running


def _generated(server: EmbeddedServer) -> float:
    return metric(server, "imagegen_diffusion_images_total")


@pytest.mark.parametrize("protocol", ["gRPC", "HTTP"])
def test_requests_of_one_client_are_spread(
    balancer: LoadBalancer, servers: list[EmbeddedServer], protocol: str
) -> None:
    before = [_generated(server) for server in servers]
    client = ImageClient(balancer.grpc_url) if protocol == "gRPC" else HttpImageClient(balancer.http_url)
    with client, ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(lambda seed: client.generate("x", num_inference_steps=4, seed=seed), range(8)))
    assert len(ended) == 8
    wait_until(lambda: sum(map(_generated, servers)) == sum(before) + 8)
    assert all(_generated(server) > earlier for server, earlier in zip(servers, before, strict=True))


@pytest.mark.parametrize("request_id", ["mine-1", "mine-2", "mine-3"])
def test_a_cancel_finds_the_server_of_its_request(
    balancer: LoadBalancer, servers: list[EmbeddedServer], request_id: str
) -> None:
    with ImageClient(balancer.grpc_url) as client:
        failed: list[type[BaseException]] = []

        def stream() -> None:
            try:
                list(client.stream("x", n=10, num_inference_steps=100, size="256x256", request_id=request_id))
            except Cancelled as error:
                failed.append(type(error))

        thread = threading.Thread(target=stream)
        thread.start()
        wait_until(lambda: sum(map(active, servers)) == 1)
        assert client.cancel(request_id)
        thread.join()
    assert failed == [Cancelled]
    wait_until(lambda: sum(map(active, servers)) == 0)


def test_one_of_two_is_replaced_under_load_without_a_failure(
    balancer: LoadBalancer, servers: list[EmbeddedServer], random_checkpoint: str, tmp_path: Path
) -> None:
    with EmbeddedFrontend(balancer.grpc_url) as frontend:
        urls = ["--http-url", balancer.http_url, "--grpc-url", balancer.grpc_url, "--openai-url", frontend.url]
        options = ["--headless", "--users", "3", "--run-time", f"{LOAD_S}s", "--csv", str(tmp_path / "load"), *urls]
        with start_locust(options) as load:
            try:
                wait_until(lambda: all(active(server) for server in servers))
                balancer.use(servers[1])
                balancer.reload()
                time.sleep(1)  # what is on its way to the old one arrives there
                servers[0].stop()
                servers[0] = _server(random_checkpoint).__enter__()
                balancer.use(*servers)
                balancer.reload()
                wait_until(lambda: _generated(servers[0]) > 0)
                load.send_signal(signal.SIGINT)
                assert load.wait(60) == 0
            finally:
                load.kill()
    assert read_csv(tmp_path / "load", "failures") == []
    (total,) = (line for line in read_csv(tmp_path / "load", "stats") if line["Name"] == "Aggregated")
    assert int(total["Request Count"]) > 0
