"""What a running server says of itself, and waiting until it says so."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Callable, Iterable
from typing import Any

from imagegen.launch.embedded_server import EmbeddedServer
from imagegen_client import ImageClient, Progress


def metric(server: EmbeddedServer, name: str, **labels: str) -> float:
    """Sum of the series of a metric that carry the labels."""
    with urllib.request.urlopen(server.metrics_url, timeout=10) as response:
        lines = response.read().decode().splitlines()
    expected = [f'{key}="{value}"' for key, value in labels.items()]
    rows = (re.fullmatch(rf"{name}\{{(.*)\}} (\S+)", line) for line in lines)
    return sum(float(row[2]) for row in rows if row and all(label in row[1] for label in expected))


def wait_until(true: Callable[[], bool], timeout_s: int = 30) -> None:
    """Asks again and again until it is true; fails after half a minute of waiting, or as long as given."""
    for _ in range(20 * timeout_s):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError(f"still not so after {timeout_s} s")


def wait_long_until(true: Callable[[], bool]) -> None:
    """The same for what waits for a server's start: fails after two minutes."""
    wait_until(true, timeout_s=120)


def news(events: Iterable[Any]) -> list[Any]:
    """Events of a stream without its keepalives: where a second passes without a step, the last one is repeated."""
    found: list[Any] = []
    for event in events:
        if not (isinstance(event, Progress) and (event.total_steps == 0 or event in found)):
            found.append(event)
    return found


def active(server: EmbeddedServer) -> float:
    return metric(server, "imagegen_diffusion_active_requests")


def steps(server: EmbeddedServer) -> float:
    return metric(server, "imagegen_diffusion_denoiser_calls_total")


def let_metrics_arrive(server: EmbeddedServer) -> int:
    """Until everything counted so far can be read; how many steps it took itself. The server must be idle.

    The model hands counts over now and then, all that has come together at once, in no known order. So one image is
    generated and its count waited for: what was counted before it is then handed over, or just being so. A second
    image is handed over later, after all that.
    """
    with ImageClient(server.grpc_url) as client:
        _count_one_more_image(server, client)
        _count_one_more_image(server, client)
    return 2


def _count_one_more_image(server: EmbeddedServer, client: ImageClient) -> None:
    def images() -> float:
        return metric(server, "imagegen_diffusion_images_total", outcome="ok")

    before = images()
    client.generate("x", num_inference_steps=1, size="64x64")
    wait_until(lambda: images() > before)
