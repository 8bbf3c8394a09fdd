"""The part `gpu`: how fast are the shapes of SD 1.5, SDXL, Flux and Qwen-Image here, and what does batching buy?

Where there is no GPU it says so.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from perf.gpu.flops import forward_flops, peak_tflops, share_percent
from perf.gpu.shapes import SHAPES, Shape
from perf.report import Section, table

_WARMUP = 3


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        sides_px: widths and heights of the images.
        images: generated together, ascending.
        repeats: of each forward; the median counts.
        seconds: after which no further batch is begun.
    """

    sides_px: tuple[int, ...] = (512, 1024)
    images: tuple[int, ...] = (1, 2, 4, 8, 16)
    repeats: int = 10
    seconds: float = 240.0


QUICK = Settings(images=(1, 2), repeats=3, seconds=20.0)


@dataclass(frozen=True)
class Timed:
    """One model with one batch.

    Attributes:
        model: its name.
        compiled: whether by torch.compile.
        side_px: width and height of the images.
        images: generated together.
        step_s: median seconds of a denoiser forward for all of them.
        decode_s: median seconds of the VAE's decoding of all of them.
        image_s: seconds of one image, steps and decoding, when so many are generated together; no text encoders.
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


def measure(settings: Settings, _: Path) -> Section:
    """Time random weights in bf16, with and without torch.compile; needs no checkpoint."""
    if not torch.cuda.is_available():
        return section(settings, [], None)
    deadline_s = time.monotonic() + settings.seconds
    timed = []
    for compiled in (False, True):
        for name, shape in SHAPES.items():
            for one in time_shape(name, shape, torch.device("cuda"), settings, compiled, torch.bfloat16):
                timed.append(one)
                if time.monotonic() > deadline_s:
                    break
    return section(settings, timed, peak_tflops(torch.cuda.get_device_name()))


def time_shape(
    name: str, shape: Shape, device: torch.device, settings: Settings, compiled: bool, dtype: torch.dtype
) -> Iterator[Timed]:
    """Time the model at every size and batch, as long as the device's memory allows.

    Args:
        name: of the model.
        shape: its architecture.
        device: where to.
        settings: sizes, batches and repeats.
        compiled: use torch.compile for the denoiser.
        dtype: of the weights.
    """
    denoiser = shape.make_denoiser(device, dtype)
    vae = shape.make_vae(device, dtype)
    forward: Callable[..., object] = torch.compile(denoiser, dynamic=False) if compiled else denoiser
    for side_px in settings.sides_px:
        row_flops = forward_flops(shape, side_px)
        for count in settings.images:
            rows = count * shape.rows_per_image
            try:
                inputs = shape.inputs(rows, side_px, device, dtype)
                latents = shape.latents(count, side_px, device, dtype)
                step_s = _median_s(lambda inputs=inputs: forward(**inputs), device, settings.repeats)  # type: ignore[misc]
                decode_s = _median_s(lambda latents=latents: vae.decode(latents), device, settings.repeats)  # type: ignore[misc]
            except torch.OutOfMemoryError:
                torch.cuda.empty_cache()
                break  # a larger batch needs more
            image_s = (shape.steps * step_s + decode_s) / count
            yield Timed(name, compiled, side_px, count, step_s, decode_s, image_s, rows * row_flops)


def _median_s(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    seconds = []
    with torch.inference_mode():
        for repeat in range(_WARMUP + repeats):
            _synchronize(device)
            started_s = time.perf_counter()
            work()
            _synchronize(device)
            if repeat >= _WARMUP:
                seconds.append(time.perf_counter() - started_s)
    return statistics.median(seconds)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def section(settings: Settings, timed: Sequence[Timed], peak: float | None) -> Section:
    """What the report says about it; `peak` is the device's limit in 10^12 operations a second, None if not known."""
    alone: Mapping[tuple[str, bool, int], float] = {
        (one.model, one.compiled, one.side_px): one.image_s for one in timed if one.images == 1
    }
    rows = [
        (
            f"{one.model}{', compiled' if one.compiled else ''}",
            f"{one.side_px}x{one.side_px}",
            one.images,
            1000 * one.step_s,
            1000 * one.decode_s,
            one.image_s,
            alone.get((one.model, one.compiled, one.side_px), math.nan) / one.image_s,
            f"{one.flops / 1e12:.3g}",
            share_percent(one.flops, one.step_s, peak),
        )
        for one in timed
    ]
    limit = "not known for this device" if peak is None else f"{peak:g} TFLOP/s in bf16"
    columns = (
        "model",
        "size",
        "images together",
        "ms a step",
        "ms VAE",
        "s an image",
        "gain",
        "TFLOP a step",
        "% of limit",
    )
    return Section(
        title="GPU: the shapes of SD 1.5, SDXL, Flux and Qwen-Image",
        settings=settings,
        paragraphs=[
            "Random weights. A step is one denoiser forward for all images, with guidance two rows an image but for "
            "Flux; an image is its usual steps (50, 30, 28, 50) and its share of the VAE, without the text encoders. "
            f"Gain: images/s against one at a time. FLOP limit: {limit}.",
            table(columns, rows) if rows else "No GPU here: nothing was measured.",
        ],
        raw={"peak_tflops": peak, "timed": [asdict(one) for one in timed]},
    )
