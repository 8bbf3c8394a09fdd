"""The same work without a server: one diffusers pipeline call in this process, then the encoder of the server."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline

from imagegen.launch.model_repository import MODEL_REPOSITORY


@dataclass(frozen=True)
class Direct:
    """One image and the milliseconds it took.

    Attributes:
        png: the encoded image.
        stages_ms: encode (up to the first denoiser call), denoise, decode (up to the pixels), postprocess (PNG).
        total_ms: all of it.
    """

    png: bytes
    stages_ms: dict[str, float]
    total_ms: float


class DirectPipeline:
    """Draws with a plain pipeline.

    Args:
        checkpoint: folder of a diffusers checkpoint with a `unet` or a `transformer`.
        device: a torch device.
    """

    def __init__(self, checkpoint: Path, device: str) -> None:
        sys.path.append(str(MODEL_REPOSITORY / "image_postprocess" / "1"))  # where Triton finds it too
        from imagegen.images.output.encode import encode

        self._encode = encode
        self._pipeline: Any = DiffusionPipeline.from_pretrained(checkpoint, dtype=torch.float32).to(device)
        self._pipeline.set_progress_bar_config(disable=True)
        self._calls_s: list[float] = []
        denoiser = getattr(self._pipeline, "unet", None) or self._pipeline.transformer
        denoiser.register_forward_pre_hook(self._note_time)
        denoiser.register_forward_hook(self._note_time)

    def draw(self, prompt: str, seed: int, size: tuple[int, int], steps: int, guidance_scale: float) -> Direct:
        """Draw one image; `size` is (width, height) in pixels."""
        self._calls_s.clear()
        started_s = time.perf_counter()
        image = self._pipeline(
            prompt=prompt,
            width=size[0],
            height=size[1],
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            generator=torch.Generator("cpu").manual_seed(seed),
        ).images[0]
        drawn_s = time.perf_counter()
        png = self._encode(np.asarray(image), "png", None)
        ended_s = time.perf_counter()
        moments_s = {
            "encode": self._calls_s[0] - started_s,
            "denoise": self._calls_s[-1] - self._calls_s[0],
            "decode": drawn_s - self._calls_s[-1],
            "postprocess": ended_s - drawn_s,
        }
        stages_ms = {stage: seconds * 1000 for stage, seconds in moments_s.items()}
        return Direct(png, stages_ms, (ended_s - started_s) * 1000)

    def _note_time(self, *_: object) -> None:
        self._calls_s.append(time.perf_counter())
