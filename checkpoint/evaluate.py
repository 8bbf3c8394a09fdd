"""Generates images of captions with the checkpoint and scores their pixels: `python -m checkpoint.evaluate`.

The captions come from a seed that training does not use; `measure` knows nothing of the model. Prints one row for
each number of steps and guidance, the recall of each shape, and how image-to-image and inpainting do.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoPipelineForImage2Image,
    AutoPipelineForInpainting,
    DiffusionPipeline,
    StableDiffusionPipeline,
)
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from checkpoint import BUNDLED, captions, measure, paint
from checkpoint.measure import Verdict
from checkpoint.scenes import SHAPES, Placed, Scene, colours_on, place, random_scene

QUESTIONS = ("background", "colour", "position", "count", "relation", "shape")
STEPS = (8, 20, 50)
GUIDANCES = (1.0, 3.0, 5.0, 7.5)
_BATCH = 16


@dataclass(frozen=True)
class Asked:
    """A caption and what it says."""

    caption: str
    scene: Scene


def load(folder: Path, device: str = "cpu") -> StableDiffusionPipeline:
    """The checkpoint in float32, without progress bars."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.float32).to(device)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def unseen_captions(count: int) -> list[Asked]:
    """Random captions, the same for every model."""
    rng = Random("captions of the check")
    scenes = [random_scene(rng) for _ in range(count)]
    return [Asked(captions.write(scene, rng), scene) for scene in scenes]


def generate(
    pipeline: DiffusionPipeline, prompts: list[str], seeds: list[int], **arguments: Any
) -> list[NDArray[np.uint8]]:
    """One image a prompt, uint8 [height, width, 3]; arguments that are lists are cut into batches too."""
    images = []
    for start in range(0, len(prompts), _BATCH):
        part = slice(start, start + _BATCH)
        rest = {name: value[part] if isinstance(value, list) else value for name, value in arguments.items()}
        generators = [torch.Generator().manual_seed(seed) for seed in seeds[part]]
        generated = pipeline(prompt=prompts[part], generator=generators, output_type="np", **rest).images
        images += [(image * 255 + 0.5).astype(np.uint8) for image in generated]
    return images


def judged(
    pipeline: StableDiffusionPipeline,
    asked: list[Asked],
    *,
    steps: int,
    guidance: float,
    seeds: int = 2,
    side_px: int = 128,
) -> list[Verdict]:
    """Every caption with every seed, judged."""
    pairs = [(one, 1000 * seed + index) for index, one in enumerate(asked) for seed in range(seeds)]
    images = generate(
        pipeline,
        [one.caption for one, _ in pairs],
        [seed for _, seed in pairs],
        num_inference_steps=steps,
        guidance_scale=guidance,
        width=side_px,
        height=side_px,
    )
    return [measure.judge(image, one.scene) for image, (one, _) in zip(images, pairs, strict=True)]


def scores(verdicts: list[Verdict]) -> dict[str, float]:
    """The share of right answers, 0..1, to each question that was asked; and the recall of each shape."""
    answers: dict[str, list[bool]] = defaultdict(list)
    for verdict in verdicts:
        for question in QUESTIONS[:-1]:
            answer = getattr(verdict, question)
            if answer is not None:
                answers[question].append(answer)
        for shape, right in verdict.shapes:
            answers["shape"].append(right)
            answers[shape].append(right)
    return {question: sum(given) / len(given) for question, given in answers.items()}


def recoloured(pipeline: StableDiffusionPipeline, count: int) -> dict[str, float]:
    """Image-to-image at strength 0.75: a painted thing shall take the asked colour and stay where it was."""
    rng = Random("recoloured")
    prompts, images, wanted, stood = [], [], [], []
    for scene, thing, image in _single_things(count, rng):
        assert scene.background is not None
        images.append(image)
        others = [name for name in colours_on(scene.background) if name != thing.colour]
        other = replace(scene, things=(replace(scene.things[0], colour=rng.choice(others or [thing.colour])),))
        prompts.append(captions.write(other, rng))
        wanted.append(other.things[0])
        stood.append(thing)
    generated = generate(
        AutoPipelineForImage2Image.from_pipe(pipeline),
        prompts,
        list(range(count)),
        image=images,
        strength=0.75,
        num_inference_steps=20,
        guidance_scale=5.0,
    )
    seen = [measure.things(image) for image in generated]
    return {
        "new colour": _share(bool(s) and s[0].colour == w.colour for s, w in zip(seen, wanted, strict=True)),
        "same place": _share(
            bool(s) and abs(s[0].x - p.x) + abs(s[0].y - p.y) < 0.1 for s, p in zip(seen, stood, strict=True)
        ),
    }


def inpainted(pipeline: StableDiffusionPipeline, count: int) -> dict[str, float]:
    """Inpainting at strength 1: another thing in the painted one's place; `change outside` is a share of 255 levels."""
    rng = Random("inpainted")
    prompts, images, masks, wanted = [], [], [], []
    for scene, thing, repainted in _single_things(count, rng):
        assert scene.background is not None
        images.append(repainted)
        mask = np.zeros((128, 128), np.uint8)
        reach = thing.radius + 0.04
        rows, columns = (
            slice(max(0, int((at - reach) * 128)), int((at + reach) * 128) + 1) for at in (thing.y, thing.x)
        )
        mask[rows, columns] = 255
        masks.append(Image.fromarray(mask))
        shape = rng.choice([name for name in SHAPES if name != thing.shape])
        colour = rng.choice(colours_on(scene.background))
        other = replace(scene, things=(replace(scene.things[0], shape=shape, colour=colour),))
        prompts.append(captions.write(other, rng))
        wanted.append(other.things[0])
    generated = generate(
        AutoPipelineForInpainting.from_pipe(pipeline),
        prompts,
        list(range(count)),
        image=images,
        mask_image=masks,
        strength=1.0,
        num_inference_steps=20,
        guidance_scale=5.0,
        width=128,
        height=128,
    )
    outside = [
        np.abs(repainted.astype(int) - np.asarray(image))[np.asarray(mask) == 0].mean()
        for repainted, image, mask in zip(generated, images, masks, strict=True)
    ]
    # As the server does: what the mask leaves is the input's own.
    pasted = [
        np.where(np.asarray(mask)[..., None] > 0, repainted, np.asarray(image))
        for repainted, image, mask in zip(generated, images, masks, strict=True)
    ]
    seen = [measure.things(repainted) for repainted in pasted]
    return {
        "colour": _share(bool(s) and s[0].colour == w.colour for s, w in zip(seen, wanted, strict=True)),
        "shape": _share(bool(s) and s[0].shape == w.shape for s, w in zip(seen, wanted, strict=True)),
        "change outside": float(np.mean(outside)) / 255,
    }


def table(rows: list[tuple[int, float, int, dict[str, float]]]) -> str:
    """Markdown: steps, guidance, images, and the scores in percent."""
    lines = [
        "| steps | guidance | images | " + " | ".join(QUESTIONS) + " |",
        "|" + "---:|" * (3 + len(QUESTIONS)),
    ]
    for steps, guidance, images, score in rows:
        cells = [f"{100 * score[question]:.1f}" if question in score else "" for question in QUESTIONS]
        lines.append(f"| {steps} | {guidance:g} | {images} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _single_things(count: int, rng: Random) -> Iterator[tuple[Scene, Placed, Image.Image]]:
    """Scenes of one thing, where it stands, and their images."""
    scenes: list[Scene] = []
    while len(scenes) < count:
        scene = random_scene(rng)
        if len(scene.things) == 1 and scene.things[0].count == 1:
            scenes.append(scene)
    for scene in scenes:
        assert scene.background is not None
        things = place(scene, rng)
        yield scene, things[0], Image.fromarray(paint.image(things, scene.background, 128, rng))


def _share(answers: Iterable[bool]) -> float:
    given = list(answers)
    return sum(given) / len(given)


def report(
    pipeline: StableDiffusionPipeline,
    *,
    count: int,
    steps: Sequence[int] = STEPS,
    guidances: Sequence[float] = GUIDANCES,
    side_px: int = 128,
) -> str:
    """The whole check of `count` captions as Markdown; each row is shown as soon as it is known."""
    asked = unseen_captions(count)
    rows = []
    for step_count, guidance in tqdm([(s, g) for s in steps for g in guidances], unit="setting"):
        verdicts = judged(pipeline, asked, steps=step_count, guidance=guidance, side_px=side_px)
        rows.append((step_count, guidance, len(verdicts), scores(verdicts)))
        tqdm.write(table(rows[-1:]))
    step_count, guidance, _, score = min(rows, key=lambda row: abs(row[0] - 20) + abs(row[1] - 5))
    recall = ", ".join(f"{shape} {100 * score.get(shape, 0):.0f}%" for shape in SHAPES)
    edits = {"Image-to-image": recoloured(pipeline, 32), "Inpainting": inpainted(pipeline, 32)}
    shown = [
        f"{name} (32 images, 20 steps, guidance 5): {', '.join(f'{key} {100 * v:.1f}%' for key, v in edit.items())}."
        for name, edit in edits.items()
    ]
    head = f"Right answers in percent; {count} captions, 2 seeds, {side_px} pixels."
    recalls = f"Shapes recognised at {step_count} steps, guidance {guidance:g}: {recall}."
    return "\n\n".join([head, table(rows), recalls, *shown]) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--captions", type=int, default=256)
    parser.add_argument("--steps", type=int, nargs="+", default=STEPS)
    parser.add_argument("--guidance", type=float, nargs="+", default=GUIDANCES)
    parser.add_argument("--side", type=int, default=128, help="pixels; the checkpoint's own size is 128")
    arguments = parser.parse_args()
    print(
        report(
            load(arguments.checkpoint, arguments.device),
            count=arguments.captions,
            steps=arguments.steps,
            guidances=arguments.guidance,
            side_px=arguments.side,
        )
    )


if __name__ == "__main__":
    main()
