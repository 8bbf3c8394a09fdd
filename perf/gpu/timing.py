"""Times of forwards on a device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from perf.gpu.flops import forward_flops
from perf.gpu.shapes import Shape

_WARMUP = 3


@dataclass(frozen=True)
class Timed:
    """One model with one batch.

    Attributes:
        model: its name.
        compiled: whether by torch.compile.
        side_px: width and height of the images.
        images: drawn together.
        step_s: median seconds of a denoiser forward for all of them.
        decode_s: median seconds of the VAE's decoding of all of them.
        image_s: seconds of one image, steps and decoding, when so many are drawn together; without text encoders.
        flops: of the forward.
    """

    model: str
    compiled: bool
    side_px: int
    images: int
    step_s: float
    decode_s: float
    image_s: float
    flops: int


def time_shape(
    name: str,
    shape: Shape,
    device: torch.device,
    sides_px: Sequence[int],
    images: Sequence[int],
    compiled: bool,
    repeats: int,
    dtype: torch.dtype,
) -> Iterator[Timed]:
    """Time the model at every size and batch, as long as the device's memory allows.

    Args:
        name: of the model.
        shape: its architecture.
        device: where to.
        sides_px: widths and heights of the images.
        images: images drawn together, ascending.
        compiled: use torch.compile for the denoiser.
        repeats: of each forward; the median counts.
        dtype: of the weights.
    """
    denoiser = shape.make_denoiser(device, dtype)
    vae = shape.make_vae(device, dtype)
    forward: Callable[..., object] = torch.compile(denoiser, dynamic=False) if compiled else denoiser
    for side_px in sides_px:
        row_flops = forward_flops(shape, side_px)
        for count in images:
            rows = count * shape.rows_per_image
            try:
                inputs = shape.inputs(rows, side_px, device, dtype)
                latents = shape.latents(count, side_px, device, dtype)
                step_s = _median_s(lambda inputs=inputs: forward(**inputs), device, repeats)  # type: ignore[misc]
                decode_s = _median_s(lambda latents=latents: vae.decode(latents), device, repeats)  # type: ignore[misc]
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                break  # a larger batch needs more
            image_s = (shape.steps * step_s + decode_s) / count
            yield Timed(name, compiled, side_px, count, step_s, decode_s, image_s, rows * row_flops)


def _median_s(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    seconds = []
    with torch.inference_mode():
        for repeat in range(_WARMUP + repeats):
            _wait_for(device)
            started_s = time.perf_counter()
            work()
            _wait_for(device)
            if repeat >= _WARMUP:
                seconds.append(time.perf_counter() - started_s)
    return statistics.median(seconds)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
