"""Checks whether images are edited as instructed: `python -m checkpoint.evaluate_edit`.

Edits that training did not use are asked for, and what comes is compared with what was given and what was wanted.
`--sheet OUT.png` shows some.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from random import Random

import numpy as np
import torch
from diffusers import StableDiffusionInstructPix2PixPipeline
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from checkpoint import EDIT, evaluate, measure
from checkpoint.edits import Edit, random_edit
from checkpoint.scenes import Placed
from checkpoint.sheet import sheet

KINDS = ("colour", "background", "outline")
_STEPS, _GUIDANCE, _IMAGE_GUIDANCE = 10, 2.0, 1.5
_DIFFERS = 40  # of 255 levels: what an edit was to change
_SAME_PLACE = 0.1  # of the image's side
_SHOWN = 16


def load(folder: Path) -> StableDiffusionInstructPix2PixPipeline:
    """The edit model in float32."""
    pipeline = StableDiffusionInstructPix2PixPipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def unseen(count: int, kind: str) -> list[Edit]:
    """Random edits of a kind, the same for every model."""
    rng = Random(f"edits of the check: {kind}")
    return [random_edit(128, rng, kind) for _ in range(count)]


def edited(
    pipeline: StableDiffusionInstructPix2PixPipeline,
    edits: list[Edit],
    steps: int = _STEPS,
    guidance: float = _GUIDANCE,
) -> list[NDArray[np.uint8]]:
    """What the model makes of each."""
    return evaluate.generate(
        pipeline,
        [edit.instruction for edit in edits],
        list(range(len(edits))),
        image=[Image.fromarray(edit.before) for edit in edits],
        num_inference_steps=steps,
        guidance_scale=guidance,
        image_guidance_scale=_IMAGE_GUIDANCE,
    )


def done(image: NDArray[np.uint8], edit: Edit) -> float:
    """The share, 0..1, of the pixels that were to change that did: of the way in RGB, at most a third is left."""
    wanted = edit.after.astype(np.float32)
    left, way = (np.linalg.norm(each - wanted, axis=2) for each in (image, edit.before))
    return float((left < way / 3)[_to_change(edit)].mean())


def elsewhere(image: NDArray[np.uint8], edit: Edit) -> float:
    """The mean change, as a share of 255 levels, of what was to stay: the pixels not beside one that was to change."""
    kept = ~ndimage.binary_dilation(_to_change(edit), iterations=2)
    return float(np.abs(image.astype(np.float32) - edit.before)[kept].mean() / 255) if kept.any() else 0.0


def in_place(image: NDArray[np.uint8], edit: Edit) -> bool:
    """Whether each thing is seen where it stood."""
    seen = measure.things(image)
    return all(any(_near(one, thing) for one in seen) for thing in edit.things)


def report(pipeline: StableDiffusionInstructPix2PixPipeline, count: int, guidance: float = _GUIDANCE) -> str:
    """The table of `count` edits of each kind as Markdown."""
    lines = [
        f"{count} edits of each kind, {_STEPS} steps, guidance {guidance:g}, by the image {_IMAGE_GUIDANCE:g}, 128 "
        "pixels; in percent.",
        "",
        "| edit | pixels changed as asked | change elsewhere | background | colour | shape | same place |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for kind in KINDS:
        edits = unseen(count, kind)
        images = edited(pipeline, edits, guidance=guidance)
        pairs = list(zip(images, edits, strict=True))
        values = [float(np.mean([check(image, edit) for image, edit in pairs])) for check in (done, elsewhere)]
        if kind != "outline":  # the program that looks for things takes a line for one
            score = evaluate.scores([measure.judge(image, edit.scene) for image, edit in pairs])
            values += [score[question] for question in ("background", "colour", "shape")]
            values.append(float(np.mean([in_place(image, edit) for image, edit in pairs])))
        lines.append(
            f"| {kind} | {' | '.join([f'{100 * value:.1f}' for value in values] + [''] * (6 - len(values)))} |"
        )
    return "\n".join(lines) + "\n"


def draw_sheet(pipeline: StableDiffusionInstructPix2PixPipeline) -> Image.Image:
    """Each image that is given, and beneath it what the instruction makes of it."""
    rng = Random("sheet of the edit check")
    edits = [random_edit(128, rng, KINDS[at % len(KINDS)]) for at in range(_SHOWN)]
    images = edited(pipeline, edits)
    rows, labels = [], []
    for start in range(0, _SHOWN, 8):
        part = slice(start, start + 8)
        rows += [*(edit.before for edit in edits[part]), *images[part]]
        labels += [*("given",) * 8, *(edit.instruction for edit in edits[part])]
    return sheet(rows, tuple(labels))


def _to_change(edit: Edit) -> NDArray[np.bool_]:
    return np.asarray(np.abs(edit.after.astype(int) - edit.before).max(2) > _DIFFERS)


def _near(seen: measure.Seen, thing: Placed) -> bool:
    return abs(seen.x - thing.x) + abs(seen.y - thing.y) < _SAME_PLACE


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=EDIT)
    parser.add_argument("--edits", type=int, default=24, help="of each kind")
    parser.add_argument("--guidance", type=float, default=_GUIDANCE)
    parser.add_argument("--sheet", type=Path, help="where to write an image of some, in place of the table")
    arguments = parser.parse_args()
    pipeline = load(arguments.checkpoint)
    if arguments.sheet:
        draw_sheet(pipeline).save(arguments.sheet)
    else:
        print(report(pipeline, arguments.edits, arguments.guidance))


if __name__ == "__main__":
    main()
