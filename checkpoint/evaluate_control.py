"""Checks how well images follow given edges: `python -m checkpoint.evaluate_control`.

Scenes that training did not use are painted, their edges given as control, with a caption that says nothing of
places. Edges of what is generated are found in the same way and laid over the given ones. `--sheet OUT.png` shows some.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from random import Random

import numpy as np
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline, StableDiffusionPipeline
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from checkpoint import BUNDLED, CONTROLS, data, edges, evaluate, measure
from checkpoint.scattered import Scattered, scattered, without_shapes
from checkpoint.sheet import sheet

SCALES = (0.0, 0.5, 1.0)
_STEPS, _GUIDANCE = 10, 5.0
_SHOWN = 8


def load(folder: Path, control: Path) -> StableDiffusionControlNetPipeline:
    """The checkpoint with a control model, in float32."""
    pipeline = evaluate.load(folder)
    model = ControlNetModel.from_pretrained(control, torch_dtype=torch.float32)
    parts = pipeline.components
    controlled = StableDiffusionControlNetPipeline(**parts, controlnet=model, requires_safety_checker=False)
    controlled.set_progress_bar_config(disable=True)
    return controlled


def unseen(count: int, side_px: int = 128) -> list[Scattered]:
    """Random scenes, the same for every model."""
    rng = Random("scenes of the control check")
    return [scattered(side_px, rng) for _ in range(count)]


def follow(
    pipeline: StableDiffusionControlNetPipeline,
    scenes: list[Scattered],
    captions: list[str],
    scale: float,
    steps: int = _STEPS,
) -> list[NDArray[np.uint8]]:
    """An image of each caption along the edges of each scene; scale 0 is without control."""
    lines = [Image.fromarray(edges.as_image(edges.canny(scene.image))) for scene in scenes]
    return evaluate.generate(
        pipeline,
        captions,
        list(range(len(scenes))),
        image=lines,
        controlnet_conditioning_scale=scale,
        num_inference_steps=steps,
        guidance_scale=_GUIDANCE,
    )


def overlap(images: list[NDArray[np.uint8]], scenes: list[Scattered]) -> float:
    """The mean overlap, 0..1, of the images' edges with those given."""
    pairs = zip(images, scenes, strict=True)
    return float(np.mean([edges.overlap(edges.canny(image), edges.canny(scene.image)) for image, scene in pairs]))


def through_vae(pipeline: StableDiffusionPipeline, scenes: list[Scattered]) -> list[NDArray[np.uint8]]:
    """The painted images as the checkpoint's VAE shows them: nothing that it generates can be better."""
    with torch.no_grad():
        latents = pipeline.vae.encode(data.normalised(np.stack([scene.image for scene in scenes]))).latent_dist.mean
        shown = pipeline.vae.decode(latents).sample.clamp(-1, 1)  # [b, 3, h, w] in -1..1
    return [(image * 127.5 + 128).astype(np.uint8) for image in shown.permute(0, 2, 3, 1).numpy()]


def report(pipeline: StableDiffusionControlNetPipeline, count: int) -> str:
    """The table of `count` scenes as Markdown."""
    scenes = unseen(count)
    named = [scene.caption for scene in scenes]
    open_ = [without_shapes(caption) for caption in named]
    lines = [
        f"{count} scenes, {_STEPS} steps, guidance {_GUIDANCE:g}, 128 pixels; in percent.",
        "",
        "| control | edge overlap | … where no shape is named | background | colour | shape |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for scale in tqdm(SCALES, unit="scale"):
        images = follow(pipeline, scenes, named, scale)
        name = f"scale {scale:g}" if scale else "none"
        lines.append(_row(name, images, scenes, overlap(follow(pipeline, scenes, open_, scale), scenes)))
    lines.append(_row("no denoiser: the painted scenes, through the VAE", through_vae(pipeline, scenes), scenes, None))
    return "\n".join(lines) + "\n"


def _row(name: str, images: list[NDArray[np.uint8]], scenes: list[Scattered], unnamed: float | None) -> str:
    pairs = zip(images, scenes, strict=True)
    score = evaluate.scores([measure.judge(image, scene.scene) for image, scene in pairs])
    values = [overlap(images, scenes), unnamed, *(score[question] for question in ("background", "colour", "shape"))]
    return f"| {name} | {' | '.join('' if value is None else f'{100 * value:.1f}' for value in values)} |"


def draw_sheet(pipeline: StableDiffusionControlNetPipeline) -> Image.Image:
    """Edges, what is generated along them, and what without, from the same captions and seeds."""
    rng = Random("sheet of the control check")
    scenes = [scattered(128, rng, turned=0.4) for _ in range(_SHOWN)]
    captions = [scene.caption for scene in scenes]
    given = [edges.as_image(edges.canny(scene.image)) for scene in scenes]
    rows = [given, follow(pipeline, scenes, captions, 1.0), follow(pipeline, scenes, captions, 0.0)]
    labels = [*captions, *("along the edges",) * _SHOWN, *("without",) * _SHOWN]
    return sheet([image for row in rows for image in row], tuple(labels), columns=_SHOWN)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED)
    parser.add_argument("--control", type=Path, default=CONTROLS / "edges")
    parser.add_argument("--scenes", type=int, default=48)
    parser.add_argument("--sheet", type=Path, help="where to write an image of some, in place of the table")
    arguments = parser.parse_args()
    pipeline = load(arguments.checkpoint, arguments.control)
    if arguments.sheet:
        draw_sheet(pipeline).save(arguments.sheet)
    else:
        print(report(pipeline, arguments.scenes))


if __name__ == "__main__":
    main()
