"""`imagegen random-checkpoint`: a checkpoint in a published model's true shape, with random weights.

For trying a server, its memory and its speed before the weights are there: the images are noise, all else is real.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

_DTYPES = ("bfloat16", "float16", "float32")


def main(argv: list[str]) -> int:
    """Write a checkpoint with random weights in a published model's shape.

    Args:
        argv: the options; `--help` lists them.

    Returns:
        The exit status.
    """
    # Not above: `imagegen --help` imports this file, and would take the seconds that torch and the pipelines do.
    import torch

    from imagegen.pipelines.random_checkpoint.published import ARCHITECTURES
    from imagegen.pipelines.random_checkpoint.write import RandomCheckpoint, gigabytes

    given = parser(sorted(ARCHITECTURES)).parse_args(argv)
    try:
        architecture = ARCHITECTURES[given.shape]
        if given.layers is not None:
            architecture = architecture.cut(given.layers)
        checkpoint = RandomCheckpoint(architecture, getattr(torch, given.dtype), given.seed)
        size = checkpoint.size
        parts = ", ".join(f"{name} {gigabytes(count)}" for name, count in size.weights_bytes.items())
        print(f"{given.shape} in {given.dtype}: {gigabytes(size.total_bytes)} ({parts})", flush=True)
        print(f"free there: {gigabytes(checkpoint.check(given.folder))}", flush=True)
        progress = _Progress(sum(size.weights_bytes.values()))
        try:
            checkpoint.write(given.folder, progress.written)
        finally:
            progress.close()
    except (OSError, ValueError) as error:
        print(f"random-checkpoint: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("random-checkpoint: interrupted, nothing is left of it", file=sys.stderr)
        return 130
    print(f"written: {given.folder}")
    return 0


class _Progress:
    """One line that changes on a terminal; a line for each component elsewhere."""

    def __init__(self, total_bytes: int) -> None:
        self._total = total_bytes
        self._done = 0
        self._component = ""
        self._terminal = sys.stderr.isatty()

    def written(self, component: str, count: int) -> None:
        """`count` more bytes of a component have been made."""
        self._done += count
        if self._terminal:
            share = 100 * self._done // self._total
            line = f"{share:3d} % of {self._total / 1e9:.1f} GB  {component}"
            print(f"\r{line:60}", end="", file=sys.stderr, flush=True)
        elif component != self._component:
            print(f"writing {component}", file=sys.stderr, flush=True)
        self._component = component

    def close(self) -> None:
        """End the line."""
        if self._terminal and self._component:
            print(file=sys.stderr)


def parser(shapes: Sequence[str]) -> argparse.ArgumentParser:
    """The command line, with the names of what can be written."""
    parser = argparse.ArgumentParser(
        prog="imagegen random-checkpoint",
        description="Write a diffusers checkpoint in a published model's true shape, with random weights.",
    )
    parser.add_argument("shape", choices=shapes, help="whose widths and depths")
    parser.add_argument("folder", type=Path, help="which is to be made")
    parser.add_argument("--dtype", choices=_DTYPES, default="bfloat16", help="of the weights; default: bfloat16")
    parser.add_argument(
        "--layers", type=int, metavar="N", help="at most so many layers in each part; default: as published"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="the same gives the same weights; default: 0")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
