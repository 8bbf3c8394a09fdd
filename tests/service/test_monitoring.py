"""What dashboard, alerts and autoscalers ask for is there, asked of running servers; so are the documented metrics."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc

from imagegen.api.errors import InternalError, StorageFailed
from imagegen.launch.status_endpoint import status_endpoint
from imagegen.launch.supervisor import State, Supervisor
from imagegen_client import ImageClient, InvalidArgument
from tests.monitoring_queries import Selector, grouping_labels, queries, selectors
from tests.service.conftest import OpenAIServer, tensors
from tests.service.server_metrics import wait_until
from tests.unit.test_docs_tables import SUPERVISOR, cells, metric_rows

PROMETHEUS_LABELS = {"job", "instance", "namespace", "pod"}  # added when it scrapes
# Only on a GPU, so not here; names and labels of Triton's are those of its documentation.
GPU_ALONE = {
    "nv_gpu_utilization",
    "nv_gpu_memory_used_bytes",
    "nv_gpu_memory_total_bytes",
    "imagegen_diffusion_device_memory_bytes",
    "imagegen_diffusion_image_peak_bytes",
}
# What does not happen here: an unexpected error, and a store that fails.
RARE = {("outcome", InternalError.code), ("reason", StorageFailed.code)}
# What each model process counts last; they hand over in the background.
LAST = {
    "imagegen_preprocess_failures_total",
    "imagegen_diffusion_images_total",
    "imagegen_postprocess_store_seconds_sum",
    "imagegen_postprocess_failures_total",
}

Series = dict[str, list[dict[str, str]]]


@pytest.fixture(scope="module")
def series(openai_server: OpenAIServer, image_host: str) -> Iterator[Series]:
    """Labels of every series, by name, once everything that is counted has happened."""
    triton = openai_server.triton
    supervisor = Supervisor(triton, print)
    supervisor.state = State.SERVING  # it was started elsewhere
    with status_endpoint(supervisor, triton, "127.0.0.1", 0) as status_port:
        pages = [triton.metrics_url, f"{openai_server.url}/metrics", f"http://127.0.0.1:{status_port}/metrics"]
        _let_everything_happen(openai_server, image_host)
        wait_until(lambda: set(_scrape(pages)) >= LAST)
        yield _scrape(pages)


def _let_everything_happen(server: OpenAIServer, image_host: str) -> None:
    few: dict[str, Any] = {"num_inference_steps": 2, "size": "64x64"}
    with ImageClient(server.triton.grpc_url) as client:
        client.generate("a", image=f"{image_host}/scene.png", response_format="url", **few)
        with pytest.raises(InvalidArgument):
            client.generate("a", image=b"no image", **few)
    # Past the edge, which refuses what postprocessing would: by itself.
    with triton_grpc.InferenceServerClient(server.triton.grpc_url) as client:
        frames = {
            "frames": ("UINT8", np.zeros((1, 8, 8, 3), np.uint8)),
            "frame_seed": ("INT64", np.zeros(1, np.int64)),
            "diffusion_report": "{}",
            "output_format": "gif",
        }
        with suppress(triton_grpc.InferenceServerException):
            client.infer("image_postprocess", tensors(triton_grpc, frames))
    body = json.dumps({"prompt": "a", **few}).encode()
    request = urllib.request.Request(f"{server.url}/v1/images/generations", body, {"content-type": "application/json"})
    urllib.request.urlopen(request, timeout=120).close()


def _scrape(pages: list[str]) -> Series:
    found: Series = {}
    for page in pages:
        with urllib.request.urlopen(page, timeout=10) as response:
            text = response.read().decode()
        for name, labels in re.findall(r"^(\w+)(?:\{(.*)\})? \S+$", text, re.MULTILINE):
            found.setdefault(name, []).append(dict(re.findall(r'(\w+)="([^"]*)"', labels)))
    return found


@pytest.mark.parametrize("place", queries())
def test_a_query_asks_for_what_there_is(place: str, series: Series) -> None:
    query = queries()[place]
    for selector in selectors(query):
        if selector.metric not in GPU_ALONE | {"up"}:
            asked = selector.labels | grouping_labels(query)
            assert _labels(series, selector) >= asked - PROMETHEUS_LABELS, selector


def _labels(series: Series, selector: Selector) -> set[str]:
    """Labels of the series that a query asks for."""
    assert selector.metric in series, f"there is no {selector.metric}"
    equal = {k: v for k, v in selector.equal.items() if k not in PROMETHEUS_LABELS and (k, v) not in RARE}
    chosen = [labels for labels in series[selector.metric] if equal.items() <= labels.items()]
    assert chosen, f"no {selector.metric} has {equal}"
    return set.intersection(*(set(labels) for labels in chosen))


def test_metrics_that_are_there_are_documented(series: Series) -> None:
    names = {row.split("|")[1].strip() for row in metric_rows()}
    found = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in series if name.startswith("imagegen_")}
    assert {name for name in found if name not in names and f"{name}_total" not in names} == set()
    documented = {name for name, _ in cells("operations.md", "| Triton's metric | meaning |")}
    assert documented - GPU_ALONE <= set(series)
    assert {row.split("|")[1].strip() for row in SUPERVISOR} <= set(series)


def test_something_else_would_be_noticed(series: Series) -> None:
    with pytest.raises(AssertionError, match="there is no"):
        _labels(series, Selector("imagegen_diffusion_step_total", {}, set()))
    with pytest.raises(AssertionError, match="no imagegen_diffusion_stage_seconds_sum has"):
        _labels(series, Selector("imagegen_diffusion_stage_seconds_sum", {"stage": "cue"}, {"stage"}))
