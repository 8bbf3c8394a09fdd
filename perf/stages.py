"""The part `stages`: where does each millisecond of one request go, over gRPC and over HTTP?"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tritonclient.grpc as triton_grpc

from imagegen_client import HttpImageClient, ImageClient
from perf.environment import triton_version
from perf.own_server import own_server
from perf.report import Section, table
from perf.turns import take_turns

PROTOCOLS = ("gRPC", "HTTP")
STAGES = {
    "transport": "client and transport: tensors, and the call, less Triton's own time for the ensemble",
    "preprocess": "preprocess: check the request",
    "queue": "queue: wait for a slot",
    "text": "text encoding, up to the first denoiser call",
    "denoise": "denoise",
    "vae": "VAE: latents to pixels",
    "copy": "copy: pixels out of the model, hand-overs between the models' processes",
    "encode": "encode as PNG",
}
"""By name; `transport` and `copy` are differences, the others are measured where they happen."""

Parts = Mapping[str, float]
"""Milliseconds of one request by the names of STAGES."""

_MODEL = "image_generation"
_WARMUP = 3
_NS_PER_MS = 1e6


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        requests: by protocol.
        steps: denoising steps of each.
        side_px: width and height.
    """

    requests: int = 40
    steps: int = 20
    side_px: int = 128


QUICK = Settings(requests=5)


def measure(settings: Settings, checkpoint: Path) -> Section:
    """Send the requests to a server of their own, both protocols in turns."""
    with ExitStack() as stack:
        server = stack.enter_context(own_server(checkpoint))
        statistics_client = stack.enter_context(triton_grpc.InferenceServerClient(server.grpc_url))
        clients: dict[str, ImageClient | HttpImageClient] = {
            "gRPC": stack.enter_context(ImageClient(server.grpc_url)),
            "HTTP": stack.enter_context(HttpImageClient(server.http_url)),
        }

        def one(name: str, number: int) -> Parts:
            before_ns = _ensemble_ns(statistics_client)
            started_s = time.perf_counter()
            # A prompt of its own, so that nothing can be remembered from the image before.
            result = clients[name].generate(
                f"image {number}, {name}",
                seed=number,
                num_inference_steps=settings.steps,
                size=f"{settings.side_px}x{settings.side_px}",
            )
            whole_ms = (time.perf_counter() - started_s) * 1000
            ensemble_ms = (_ensemble_ns(statistics_client) - before_ns) / _NS_PER_MS
            return split(whole_ms, ensemble_ms, result.metadata["milliseconds"])

        ways = {name: partial(one, name) for name in PROTOCOLS}
        turns = take_turns("one request at a time", ways, settings.requests, _WARMUP)
        parts = {name: [turn.result for turn in turns[name]] for name in PROTOCOLS}
        return section(settings, parts, triton_version(server.http_url))


def _ensemble_ns(client: triton_grpc.InferenceServerClient) -> int:
    """Nanoseconds that Triton has counted for completed requests of the ensemble so far."""
    [model] = client.get_inference_statistics(_MODEL).model_stats
    return int(model.inference_stats.success.ns)


def split(whole_ms: float, ensemble_ms: float, server_ms: Mapping[str, float]) -> Parts:
    """The parts of one request.

    Args:
        whole_ms: the request as the client's user sees it.
        ensemble_ms: Triton's own time for the ensemble.
        server_ms: `milliseconds` of the response's metadata.
    """
    named = {
        "preprocess": server_ms["preprocess"],
        "queue": server_ms["queue"],
        "text": server_ms["encode"],
        "denoise": server_ms["denoise"],
        "vae": server_ms["decode"],
        "encode": server_ms["postprocess"],
    }
    rest = {"transport": whole_ms - ensemble_ms, "copy": ensemble_ms - sum(named.values())}
    return {stage: (named | rest)[stage] for stage in STAGES}


def section(settings: Settings, parts: Mapping[str, Sequence[Parts]], versions: Mapping[str, str]) -> Section:
    """What the report says about the parts of all requests by protocol."""
    medians = {
        name: {stage: statistics.median(one[stage] for one in parts[name]) for stage in STAGES} for name in PROTOCOLS
    }
    whole_ms = {name: statistics.median(sum(one.values()) for one in parts[name]) for name in PROTOCOLS}

    def cells(name: str, milliseconds: float) -> tuple[float, str]:
        return milliseconds, f"{100 * milliseconds / whole_ms[name]:.1f} %"

    rows: list[list[object]] = [
        [meaning, *(cell for name in PROTOCOLS for cell in cells(name, medians[name][stage]))]
        for stage, meaning in STAGES.items()
    ]
    rows.append(["**whole request**", *(cell for name in PROTOCOLS for cell in cells(name, whole_ms[name]))])
    return Section(
        title="Where each millisecond goes, at concurrency 1",
        settings=settings,
        paragraphs=[
            "Medians, both protocols in turns.",
            table(("stage", *(column for name in PROTOCOLS for column in (f"{name} ms", "share"))), rows),
        ],
        raw={"medians_ms": medians, "whole_ms": whole_ms, "parts_ms": parts},
        versions=versions,
    )
