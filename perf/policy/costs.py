"""What the simulation plays, measured: a forward by rows, and what an image takes besides.

In time of the processor, and the least of several: what else a machine does only ever makes them longer.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline

from perf.policy.side import EngineClient
from perf.policy.simulation import MAX_BATCH, Device
from perf.traces import mixed_steps_mean, own_request
from perf.workload import LONG_STEPS, SHORT_STEPS

FORWARD_ROWS = (2, 4, 8, 16)


def forward_ms(pipeline: Any, rows: Sequence[int], side_px: int, repeats: int) -> dict[int, float]:
    """Least milliseconds of a denoiser forward by rows, on one thread, all sizes in turns."""
    unet, side = pipeline.unet, side_px // pipeline.vae_scale_factor
    times: dict[int, list[float]] = {count: [] for count in rows}
    with torch.inference_mode():
        for _ in range(repeats):
            for count in rows:
                latents = torch.randn(count, unet.config.in_channels, side, side)
                text = torch.randn(count, pipeline.tokenizer.model_max_length, unet.config.cross_attention_dim)
                started_s = time.thread_time()
                unet(latents, torch.full((count,), 500), text)
                times[count].append((time.thread_time() - started_s) * 1000)
    return {count: min(values) for count, values in times.items()}


def device_of(forwards: dict[int, float], alone_ms: dict[int, float]) -> Device:
    """The straight line through the forwards, and what is left of an image that is alone.

    Args:
        forwards: milliseconds by rows.
        alone_ms: milliseconds of a request that is alone, by its steps.
    """
    row_ms, fixed_ms = np.polyfit(list(forwards), list(forwards.values()), 1)
    line = Device(max(0.0, float(fixed_ms)), float(row_ms), 0.0, 0.0, 0.0)
    short, long = alone_ms[SHORT_STEPS], alone_ms[LONG_STEPS]
    step_ms = max(0.0, (long - short) / (LONG_STEPS - SHORT_STEPS) - line.forward_ms(1))
    rest_ms = max(0.0, short - SHORT_STEPS * (line.forward_ms(1) + step_ms))
    return Device(line.fixed_ms, line.row_ms, rest_ms / 3, rest_ms * 2 / 3, step_ms)


def limit_per_s(forwards: dict[int, float]) -> float:
    """Requests of the mix a second if there were nothing but full forwards, back to back."""
    return 1000 * MAX_BATCH / (forwards[2 * MAX_BATCH] * mixed_steps_mean())


def measure_forwards(checkpoint: Path, side_px: int, repeats: int) -> dict[int, float]:
    """Of a checkpoint, with one thread, in this process."""
    torch.set_num_threads(1)
    pipeline = DiffusionPipeline.from_pretrained(checkpoint, dtype=torch.float32)
    return forward_ms(pipeline, FORWARD_ROWS, side_px, repeats)


def measure_alone(checkpoint: Path, side_px: int, repeats: int) -> dict[int, float]:
    """Least milliseconds of a request that the engine does alone, by its steps, in this process."""
    times: dict[int, list[float]] = {SHORT_STEPS: [], LONG_STEPS: []}
    with EngineClient(str(checkpoint), {}).engine as engine:
        for number in range(repeats):
            for steps, taken in times.items():
                values = own_request(number, steps, number, side_px).values()
                prompt = values.pop("prompt")
                started_s = time.process_time()
                engine.generate(prompt, **values)
                taken.append((time.process_time() - started_s) * 1000)
    return {steps: min(taken) for steps, taken in times.items()}
