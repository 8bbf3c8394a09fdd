"""`python -m perf.gpu`: how fast are the shapes of SD 1.5, SDXL and Flux here, and what does batching buy?

Ends by itself. Where there is no GPU it says so; the exit status is 0.
"""

from __future__ import annotations

import argparse
import sys
import time

import torch
from rich.console import Console

from perf.arguments import measuring_parser
from perf.gpu.flops import peak_tflops
from perf.gpu.shapes import SHAPES, SMALL_SHAPES
from perf.gpu.shapes_report import shapes_report
from perf.gpu.timing import Timed, time_shape
from perf.progress import quiet_progress, silence_libraries
from perf.report import write_results
from perf.surroundings import results_folder, surroundings

_IMAGES = (1, 2, 4, 8, 16)
_SIDES_PX = (512, 1024)
_REPEATS = 10


def main() -> int:
    """Command line; the exit status."""
    arguments = _parse_arguments()
    silence_libraries()
    about = surroundings(None, ("torch", "diffusers"))
    console = Console(stderr=True)
    has_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if has_gpu else "cpu")
    small = arguments.small
    sides_px = (64,) if small else _SIDES_PX
    images = (1, 2) if small or arguments.quick else _IMAGES
    repeats = 1 if small else 3 if arguments.quick else _REPEATS
    dtype = torch.float32 if small else torch.bfloat16  # most CPUs have no bf16 and take seconds for it
    if small:
        torch.set_num_threads(1)  # more wait for each other longer than such forwards take
    timed: list[Timed] = []
    if has_gpu or small:
        deadline_s = time.monotonic() + arguments.seconds
        shapes = SMALL_SHAPES if small else SHAPES
        runs = [(name, compiled) for compiled in ((False,) if small else (False, True)) for name in shapes]
        with quiet_progress(console) as progress:
            bar = progress.add_task("", total=len(runs))
            for name, compiled in runs:
                if time.monotonic() > deadline_s:
                    break
                progress.update(bar, description=f"{name}{', compiled' if compiled else ''}", refresh=True)
                for one in time_shape(name, shapes[name], device, sides_px, images, compiled, repeats, dtype):
                    timed.append(one)
                    if time.monotonic() > deadline_s:
                        break
                progress.update(bar, advance=1, refresh=True)
    else:
        console.print("gpu: no GPU here, nothing to measure; --small runs the code on the CPU")
    peak = peak_tflops(torch.cuda.get_device_name()) if has_gpu else None
    parameters = {
        "sides_px": sides_px,
        "images together": images,
        "repeats": repeats,
        "scaled down": small,
        "dtype": str(dtype),
    }
    markdown, raw = shapes_report(about, parameters, timed, peak)
    print(markdown)
    for path in write_results(arguments.out or results_folder(about), "gpu", markdown, raw):
        print(f"written: {path}", file=sys.stderr)
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = measuring_parser("python -m perf.gpu", __doc__, "one and two images, few repeats")
    parser.add_argument(
        "--small", action="store_true", help="architectures scaled down: runs anywhere, times mean nothing"
    )
    parser.add_argument(
        "--seconds", type=float, default=240.0, help="after which no further batch is begun; default 240"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
