"""What every peer does behind its own front: equal requests are one call of a plain diffusers pipeline.

Runs in the peers' environments too, so it imports nothing of this project.
"""

from __future__ import annotations

import ctypes
import io
import os
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DiffusionPipeline
from PIL import Image

CHECKPOINT, SIDE_PX, PORT = "PEER_CHECKPOINT", "PEER_SIDE_PX", "PEER_PORT"
"""Environment variables that a peer is set up by: a folder, pixels, a port on loopback."""

MAX_BATCH = 8
"""Requests of one batch: as many as the closed loop has clients."""
MAX_DELAY_S = 0.01
"""How long the first request of a batch waits for company."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_KEPT_BYTES = 256 * 2**20  # as in `diffusion`'s tuning.py


@dataclass(frozen=True)
class DrawRequest:
    """One image; what peers get as JSON.

    Attributes:
        prompt: what to draw.
        num_inference_steps: denoising steps.
        guidance_scale: of classifier-free guidance.
        seed: of its noise.
    """

    prompt: str
    num_inference_steps: int
    guidance_scale: float
    seed: int


def equal_groups(requests: Sequence[DrawRequest]) -> list[list[int]]:
    """Places in `requests` that one pipeline call can draw: equal steps and guidance. The oldest come first."""
    groups: dict[tuple[int, float], list[int]] = {}
    for place, request in enumerate(requests):
        groups.setdefault((request.num_inference_steps, request.guidance_scale), []).append(place)
    return list(groups.values())


class PeerPipeline:
    """A pipeline in float32 with one torch thread and an allocator that keeps memory, as all sides have it.

    Args:
        setup: CHECKPOINT and SIDE_PX.
    """

    def __init__(self, setup: Mapping[str, str] = os.environ) -> None:
        torch.set_num_threads(1)
        for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            ctypes.CDLL(None).mallopt(parameter, _KEPT_BYTES)
        self._side_px = int(setup[SIDE_PX])
        self._pipeline: Any = DiffusionPipeline.from_pretrained(setup[CHECKPOINT], dtype=torch.float32)
        self._pipeline.set_progress_bar_config(disable=True)

    def draw(self, requests: Sequence[DrawRequest]) -> list[Image.Image]:
        """The images of equal requests, by one call of the pipeline."""
        images: list[Image.Image] = self._pipeline(
            prompt=[request.prompt for request in requests],
            width=self._side_px,
            height=self._side_px,
            num_inference_steps=requests[0].num_inference_steps,
            guidance_scale=requests[0].guidance_scale,
            generator=[torch.Generator("cpu").manual_seed(request.seed) for request in requests],
        ).images
        return images

    def draw_batch(self, requests: Sequence[DrawRequest]) -> list[bytes]:
        """PNG files of any requests, in their order; as few calls of the pipeline as their differences allow."""
        files: dict[int, bytes] = {}
        for places in equal_groups(requests):
            images = self.draw([requests[place] for place in places])
            files |= {place: encode_png(image) for place, image in zip(places, images, strict=True)}
        return [files[place] for place in range(len(requests))]


def encode_png(image: Image.Image) -> bytes:
    """A PNG file by Pillow at its fastest level that is still small, as `image_postprocess` would without ISA-L."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()
