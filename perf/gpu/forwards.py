"""How long a denoiser's forward takes by its rows: eager, as a CUDA graph, compiled; and the VAE's decoding."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from imagegen.engine.device_clock import wait_for_device
from perf.gpu.flops import forward_flops
from perf.gpu.journal import Journal
from perf.gpu.shapes import Shape

EAGER, GRAPH, COMPILED = WAYS = ("eager", "graph", "compiled")
_WARMUP = 2


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        sides_px: widths and heights of the images.
        images: generated together, ascending.
        repeats: of each forward; the median counts.
    """

    sides_px: tuple[int, ...] = (512, 1024)
    images: tuple[int, ...] = (1, 2, 4, 8, 16)
    repeats: int = 5


def time_forwards(
    journal: Journal, name: str, shape: Shape, denoiser: torch.nn.Module, vae: Any, settings: Settings, way: str
) -> None:
    """Time a model at every size and batch, as long as there is time and memory.

    Points `forward/MODEL/WAY/SIDE/IMAGES`: `step_s`, `decode_s` (median seconds for all images), `flops` of the forward
    and `weight_bytes` that it reads.

    Args:
        journal: of the points.
        name: of the model.
        shape: its inputs.
        denoiser, vae: on the device.
        settings: sizes, batches and repeats.
        way: one of `WAYS`; the VAE is timed with `EAGER` alone.
    """
    parameter = next(denoiser.parameters())
    device, dtype = parameter.device, parameter.dtype
    forward: Callable[..., object] = torch.compile(denoiser, dynamic=False) if way == COMPILED else denoiser
    weight_bytes = sum(one.nbytes for one in denoiser.parameters())

    def one(side_px: int, images: int, row_flops: int) -> Mapping[str, Any]:
        rows = images * shape.rows_per_image
        inputs = shape.inputs(rows, side_px, device, dtype)
        latents = shape.latents(images, side_px, device, dtype)
        with torch.inference_mode():
            call = _captured(denoiser, inputs) if way == GRAPH else partial(forward, **inputs)
            values = {"step_s": median_s(call, device, settings.repeats), "flops": rows * row_flops}
            if way == EAGER:
                values["decode_s"] = median_s(lambda: vae.decode(latents), device, settings.repeats)
        return {**values, "weight_bytes": weight_bytes}

    for side_px in settings.sides_px:
        keys = {images: f"forward/{name}/{way}/{side_px}/{images}" for images in settings.images}
        if not any(map(journal.misses, keys.values())):
            continue
        row_flops = forward_flops(shape, side_px)
        for images, key in keys.items():
            if not journal.measure(key, partial(one, side_px, images, row_flops)):
                _empty_cache(device)
                break  # a larger batch needs more


def median_s(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Seconds until the device has done it."""
    seconds = []
    for repeat in range(_WARMUP + repeats):
        wait_for_device(device)
        started_s = time.perf_counter()
        work()
        wait_for_device(device)
        if repeat >= _WARMUP:
            seconds.append(time.perf_counter() - started_s)
    return statistics.median(seconds)


def _captured(denoiser: torch.nn.Module, inputs: Mapping[str, Any]) -> Callable[[], None]:
    """The forward as a CUDA graph, which the host launches as one."""
    stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARMUP):
            denoiser(**inputs)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        denoiser(**inputs)
    return graph.replay


def _empty_cache(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
