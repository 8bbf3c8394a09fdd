"""What measurements send: requests of several tasks, sizes and lengths, and a mix of them as many users would send it.

The mix has a limited number of different requests, so that requests repeat and a repeated one can be compared with the
first response to it.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import random
from typing import Any

from PIL import Image, ImageDraw

SHORT_STEPS = 4
LONG_STEPS = 50
SHORT_SHARE = 0.7

TEXT_TO_IMAGE, IMAGE_TO_IMAGE, INPAINTING = "text-to-image", "image-to-image", "inpainting"
TASK_SHARES = {TEXT_TO_IMAGE: 0.6, IMAGE_TO_IMAGE: 0.25, INPAINTING: 0.15}
SIZE_SHARES = {(64, 64): 0.3, (96, 64): 0.2, (128, 128): 0.5}
IMAGES_SHARES = {1: 0.9, 2: 0.1}

_PROMPTS = (
    "a large red heart in the center on a blue background",
    "two small yellow stars at night",
    "a green circle above a white square",
    "an orange triangle on grass",
)
_SEEDS = 2
_SIDE_PX = 128  # of the input images


@dataclasses.dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        task: one of `TASK_SHARES`.
        size: (width, height) of the images in pixels.
        num_inference_steps: SHORT_STEPS or LONG_STEPS.
        n: images.
        seed: of the first; the others' are the next ones.
        prompt: what the images are to show.
        guidance_scale: None for the server's default.
        lora: the adapter's name; empty for none.
        control_image: PNG file that the image has to follow; empty for none.
    """

    task: str
    size: tuple[int, int]
    num_inference_steps: int
    n: int
    seed: int
    prompt: str
    guidance_scale: float | None = None
    lora: str = ""
    control_image: bytes = dataclasses.field(default=b"", repr=False)

    @property
    def name(self) -> str:
        """The row of the statistics that it belongs to."""
        return f"{self.task}, {'short' if self.num_inference_steps == SHORT_STEPS else 'long'}"

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of its images."""
        return tuple(range(self.seed, self.seed + self.n))

    def each(self) -> list[Request]:
        """The request for each of its images alone, which has to give the same image."""
        return [dataclasses.replace(self, n=1, seed=seed) for seed in self.seeds]

    def values(self) -> dict[str, Any]:
        """Public tensors by name."""
        values: dict[str, Any] = {
            "prompt": self.prompt,
            "size": "{}x{}".format(*self.size),
            "num_inference_steps": self.num_inference_steps,
            "n": self.n,
            "seed": self.seed,
        }
        if self.guidance_scale is not None:
            values["guidance_scale"] = self.guidance_scale
        if self.lora:
            values["lora"] = self.lora
        if self.control_image:
            values["control_image"] = self.control_image
        if self.task != TEXT_TO_IMAGE:
            values["image"] = scene_png()
        if self.task == INPAINTING:
            values["mask"] = mask_png()
        return values


def random_request(dice: random.Random) -> Request:
    """The next request of some user."""
    steps = {SHORT_STEPS: SHORT_SHARE, LONG_STEPS: 1 - SHORT_SHARE}
    return Request(
        task=_choice(dice, TASK_SHARES),
        size=_choice(dice, SIZE_SHARES),
        num_inference_steps=_choice(dice, steps),
        n=_choice(dice, IMAGES_SHARES),
        seed=dice.randrange(_SEEDS),
        prompt=dice.choice(_PROMPTS),
    )


@functools.cache
def scene_png() -> bytes:
    """An input image of 128x128 pixels: a yellow disc on blue, above a green strip."""
    scene = Image.new("RGB", (_SIDE_PX, _SIDE_PX), (40, 90, 200))
    pen = ImageDraw.Draw(scene)
    pen.ellipse((34, 20, 94, 80), fill=(240, 210, 40))
    pen.rectangle((0, 100, _SIDE_PX, _SIDE_PX), fill=(30, 150, 60))
    return _png(scene)


@functools.cache
def mask_png() -> bytes:
    """What to repaint of it: the disc, fully transparent in an otherwise opaque image."""
    mask = Image.new("RGBA", (_SIDE_PX, _SIDE_PX), (0, 0, 0, 255))  # read alike by Triton and OpenAI's API
    ImageDraw.Draw(mask).rectangle((32, 16, 96, 84), fill=(0, 0, 0, 0))
    return _png(mask)


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _choice(dice: random.Random, shares: dict[Any, float]) -> Any:
    return dice.choices(list(shares), list(shares.values()))[0]
