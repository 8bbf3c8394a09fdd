"""A contact sheet: `python -m checkpoint.sheet OUT.png` generates one image for each of 32 captions, eight a row."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from checkpoint import BUNDLED
from checkpoint.evaluate import generate, load

CAPTIONS = (
    "a large red heart on a white background",
    "a yellow star in the night sky",
    "a black circle at sunset",
    "three orange diamonds on grass",
    "a blue square left of a red triangle on a yellow background",
    "a white ring on a gradient from blue to purple",
    "a pink cross at the top left on black",
    "two green triangles in the sky",
    "a small purple star in the bottom right corner on orange",
    "a red circle above a blue circle on white",
    "a big white heart on the sea",
    "three red rings on a cyan background",
    "a cyan diamond in the center on a purple background",
    "a yellow square on the right on a green background",
    "a green cross below a pink heart on a black background",
    "two white stars at night",
    "an orange circle at the bottom at the sea",
    "a large blue triangle on a pink background",
    "a purple ring at the top on grass",
    "a red star right of a black square on a white background",
    "three blue hearts on a yellow background",
    "a white cross on a red background",
    "a small black diamond on a gradient from yellow to orange",
    "two purple squares on a white background",
    "a yellow heart above a cyan ring on a blue background",
    "a green circle on the left on an orange background",
    "a large pink star in front of a sunset",
    "an orange triangle under a white circle at night",
    "three black crosses on a green background",
    "a red diamond on a gradient from white to blue",
    "a cyan square in the middle on red",
    "a blue star on the meadow",
)
_LABEL_PX = 34


def sheet(images: list[NDArray[np.uint8]], captions: tuple[str, ...], columns: int = 8) -> Image.Image:
    """Images uint8 [h, w, 3] of one size with their captions beneath."""
    height, width = images[0].shape[:2]
    rows = -(-len(images) // columns)
    page = Image.new("RGB", (columns * (width + 4), rows * (height + _LABEL_PX)), "white")
    pen = ImageDraw.Draw(page)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        x, y = index % columns * (width + 4), index // columns * (height + _LABEL_PX)
        page.paste(Image.fromarray(image), (x, y))
        pen.multiline_text((x + 2, y + height + 2), _wrapped(caption, width // 6), fill="black", font_size=9, spacing=1)
    return page


def draw_sheet(pipeline: StableDiffusionPipeline, steps: int = 20, guidance: float = 5.0) -> Image.Image:
    """The sheet of CAPTIONS, each with its number as the seed."""
    seeds = list(range(len(CAPTIONS)))
    images = generate(pipeline, list(CAPTIONS), seeds, num_inference_steps=steps, guidance_scale=guidance)
    return sheet(images, CAPTIONS)


def _wrapped(text: str, columns: int) -> str:
    return "\n".join(textwrap.wrap(text, columns))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=5.0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    pipeline = load(arguments.checkpoint, arguments.device)
    draw_sheet(pipeline, arguments.steps, arguments.guidance).save(arguments.out)


if __name__ == "__main__":
    main()
