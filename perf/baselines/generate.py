"""What every baseline does behind its own front: equal requests are one call of a plain diffusers pipeline.

Runs in the baselines' environments too, so it imports nothing of this project.
"""

from __future__ import annotations

import base64
import ctypes
import io
import os
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel, DiffusionPipeline, StableDiffusionControlNetPipeline
from PIL import Image

CHECKPOINT, PORT = "BASELINE_CHECKPOINT", "BASELINE_PORT"
ADAPTERS, COMPILED, CONTROL = "BASELINE_ADAPTERS", "BASELINE_COMPILED", "BASELINE_CONTROL"
"""Environment variables that a baseline is set up by: a folder, a port on loopback, a folder of adapters or none, the
side of the images for which torch.compile is to be used or none, and the folder of a control network or none."""

MAX_BATCH = 8
"""Requests of one batch: as many as the closed loop has clients."""
MAX_DELAY_S = 0.01
"""How long the first request of a batch waits for company."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
_KEPT_BYTES = 256 * 2**20  # as in imagegen/malloc.py


@dataclass(frozen=True)
class GenerateRequest:
    """One image; what baselines get as JSON.

    Attributes:
        prompt: what the image is to show.
        num_inference_steps: denoising steps.
        guidance_scale: of classifier-free guidance.
        seed: of its noise.
        size: "WxH" in pixels.
        lora: the adapter, by its file's stem; empty for none.
        control_image: PNG file in base64 that the image has to follow; empty for none.
    """

    prompt: str
    num_inference_steps: int
    guidance_scale: float
    seed: int
    size: str
    lora: str = ""
    control_image: str = ""


def equal_groups(requests: Sequence[GenerateRequest]) -> list[list[int]]:
    """Places in `requests` that one pipeline call can do: equal but for prompt, seed and what a control image shows.

    The oldest come first.
    """
    groups: dict[tuple[int, float, str, str, bool], list[int]] = {}
    for place, request in enumerate(requests):
        controlled = bool(request.control_image)
        key = (request.num_inference_steps, request.guidance_scale, request.size, request.lora, controlled)
        groups.setdefault(key, []).append(place)
    return list(groups.values())


class BaselinePipeline:
    """A pipeline in float32 with one torch thread and an allocator that keeps memory, as all sides have it.

    Args:
        checkpoint: a folder; by default the one in the environment variable CHECKPOINT.
        compiled_px: side of the images for which it is compiled, as text; by default that in the variable COMPILED.
    """

    def __init__(self, checkpoint: str | None = None, compiled_px: str = "") -> None:
        torch.set_num_threads(1)
        for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            ctypes.CDLL(None).mallopt(parameter, _KEPT_BYTES)
        folder = checkpoint or os.environ[CHECKPOINT]
        self._pipeline: Any = DiffusionPipeline.from_pretrained(folder, dtype=torch.float32)
        self._pipeline.set_progress_bar_config(disable=True)
        self._has_adapters = False
        if os.environ.get(ADAPTERS):
            self._load_adapters(Path(os.environ[ADAPTERS]))
        if os.environ.get(CONTROL):
            self._load_control(os.environ[CONTROL])
        side = compiled_px or os.environ.get(COMPILED)
        if side:
            self._compile(f"{side}x{side}")

    def generate(self, requests: Sequence[GenerateRequest]) -> list[Image.Image]:
        """The images of equal requests, by one call of the pipeline."""
        if self._has_adapters:
            self._choose(requests[0].lora)
        width, height = map(int, requests[0].size.split("x"))
        pipeline, control = self._pipeline, {}
        if requests[0].control_image:
            pipeline, control = self._controlled, {"image": [_opened(request.control_image) for request in requests]}
        images: list[Image.Image] = pipeline(
            prompt=[request.prompt for request in requests],
            width=width,
            height=height,
            num_inference_steps=requests[0].num_inference_steps,
            guidance_scale=requests[0].guidance_scale,
            generator=[torch.Generator("cpu").manual_seed(request.seed) for request in requests],
            **control,
        ).images
        return images

    def _compile(self, size: str) -> None:
        """Compile the denoiser for any number of rows, before the first request comes."""
        self._pipeline.unet.compile(dynamic=True)
        for count in (MAX_BATCH, 1, 2):
            self.generate([GenerateRequest("a star", 1, 7.5, seed, size) for seed in range(count)])

    def _load_control(self, folder: str) -> None:
        """A second pipeline that shares the first one's weights, as diffusers recommends it."""
        network = ControlNetModel.from_pretrained(folder, dtype=torch.float32)
        self._controlled = StableDiffusionControlNetPipeline.from_pipe(self._pipeline, controlnet=network)
        self._controlled.set_progress_bar_config(disable=True)

    def _load_adapters(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PEFT's, at each further adapter
            for file in sorted(folder.glob("*.safetensors")):
                self._pipeline.load_lora_weights(str(file), adapter_name=file.stem)
                self._has_adapters = True

    def _choose(self, adapter: str) -> None:
        """Set the pipeline's one state, as who serves adapters with diffusers does."""
        if adapter:
            self._pipeline.enable_lora()
            self._pipeline.set_adapters([adapter], [1.0])
        else:
            self._pipeline.disable_lora()

    def generate_batch(self, requests: Sequence[GenerateRequest]) -> list[bytes]:
        """PNG files of any requests, in their order; as few calls of the pipeline as their differences allow."""
        files: dict[int, bytes] = {}
        for places in equal_groups(requests):
            images = self.generate([requests[place] for place in places])
            files |= {place: encode_png(image) for place, image in zip(places, images, strict=True)}
        return [files[place] for place in range(len(requests))]


def _opened(file: str) -> Image.Image:
    """The image of a PNG file in base64."""
    return Image.open(io.BytesIO(base64.b64decode(file, validate=True))).convert("RGB")


def encode_png(image: Image.Image) -> bytes:
    """A PNG file by Pillow at its fastest level that is still small."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()
