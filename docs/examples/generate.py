"""Generates images with the engine, without any server, and writes them as PNG files.

`python docs/examples/generate.py model_repository/diffusion/1/checkpoint "a large red circle" --out .`
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from imagegen.engine import Engine


def main() -> None:
    """Read the arguments, generate, write the files."""
    parser = argparse.ArgumentParser(description="Generate images with a diffusers checkpoint.")
    parser.add_argument("checkpoint", help="folder of a diffusers checkpoint, or hub id")
    parser.add_argument("prompt")
    parser.add_argument("--n", type=int, default=2, help="number of images")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20, help="denoising steps")
    parser.add_argument("--out", type=Path, default=Path(), help="folder for the files")
    arguments = parser.parse_args()
    with Engine.load(arguments.checkpoint) as engine:
        result = engine.generate(
            arguments.prompt, n=arguments.n, seed=arguments.seed, num_inference_steps=arguments.steps
        )
    for seed, frame in zip(result.seeds, result.frames, strict=True):
        path = arguments.out / f"{seed}.png"
        Image.fromarray(frame).save(path)
        print(path)


if __name__ == "__main__":
    main()
