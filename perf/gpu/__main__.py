"""`python -m perf.gpu`: is the engine right and fast on this GPU? Under 8 minutes, with torch and diffusers alone.

Random weights in the published shapes of SDXL, Flux, Qwen-Image and SD 1.5: no server, no network, no files to fetch.
What is right comes before what is fast. Each point is written down at once, so that a run that was cut off is gone on
with by the same command. The exit status is 1 where something failed or was wrong.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from perf.environment import environment, results_folder
from perf.gpu import correctness, engine_points, forwards
from perf.gpu.journal import Journal
from perf.gpu.pipelines import made_pipeline
from perf.gpu.report import section
from perf.gpu.requests import by_pipeline, engine_of
from perf.gpu.shapes import SHAPES, Shape
from perf.parts import check_names
from perf.report import Outcome, write_report

_NAME = "gpu"


@dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        seconds: after which no further point is begun.
        models: of the shapes, in this order.
        compiled: those that are compiled too, which takes a minute or two each.
        correct_side_px: of the images that are compared.
        rows: of the largest forward.
        forwards: how many of them.
        engine: how much of the engine; Flux and Qwen-Image at half the side, to be done in time.
    """

    seconds: float = 440.0
    models: tuple[str, ...] = ("SDXL", "Flux", "Qwen-Image", "SD 1.5")
    compiled: tuple[str, ...] = ("SDXL", "Flux")
    correct_side_px: int = 512
    rows: int = 32
    forwards: forwards.Settings = field(default_factory=forwards.Settings)
    engine: engine_points.Settings = field(default_factory=engine_points.Settings)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m perf.gpu", description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(SHAPES)}; default: all")
    parser.add_argument("--seconds", type=float, default=Settings.seconds, help="default: %(default)g")
    parser.add_argument("--out", type=Path, help="folder for the report; default: perf/results/<date>-<commit>")
    given = parser.parse_args(argv)
    check_names(parser, "models", given.models, SHAPES)
    if not torch.cuda.is_available():
        print("perf.gpu: there is no GPU here; its scaled-down form is among the tests", file=sys.stderr)
        return 2
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
    about = environment("python -m perf.gpu")
    folder = (given.out or results_folder(about)).resolve()
    settings = Settings(seconds=given.seconds, models=tuple(given.models) or Settings.models)
    outcome = run(folder, settings, SHAPES, torch.device("cuda"), torch.bfloat16)
    markdown, files = write_report(folder, _NAME, about, [outcome])
    print(markdown)
    for file in files:
        print(f"written: {os.path.relpath(file)}", file=sys.stderr)
    missed = outcome.section is None or any(target.met is False for target in outcome.section.targets)
    return 1 if missed or outcome.failed else 0


def run(
    folder: Path, settings: Settings, shapes: Mapping[str, Shape], device: torch.device, dtype: torch.dtype
) -> Outcome:
    """Measure what is not in the folder's journal yet.

    Args:
        folder: made where it is missing.
        settings: how much.
        shapes: of the models, by name.
        device, dtype: of the weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    journal = Journal(folder / f"{_NAME}.jsonl", settings.seconds)
    for name in settings.models:
        if not journal.is_over:
            measure_model(journal, name, shapes[name], settings, device, dtype)
            _collect(device)
    for name in settings.models:
        if name in settings.compiled and not journal.is_over:
            denoiser = shapes[name].make_denoiser(device, dtype)
            forwards.time_forwards(journal, name, shapes[name], denoiser, None, settings.forwards, forwards.COMPILED)
            del denoiser
            _collect(device)
    device_name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    took_s = sum(point["took_s"] for point in journal.points.values())
    return Outcome(_NAME, took_s, section(journal, settings, device_name))


def measure_model(
    journal: Journal, name: str, shape: Shape, settings: Settings, device: torch.device, dtype: torch.dtype
) -> None:
    """All of a model but what is compiled: what is right first."""
    pipeline = made_pipeline(shape.architecture, device, dtype)
    denoiser = getattr(pipeline, "unet", None) or pipeline.transformer
    is_large = name not in ("SDXL", "SD 1.5")
    own = settings.engine
    if is_large:
        own = replace(own, side_px=own.side_px // 2)
    side_px = settings.correct_side_px
    with engine_of(pipeline, device, settings.rows, max_batch_rows=settings.rows) as engine:
        check = partial(correctness.mixed_as_alone, engine, by_pipeline(pipeline), side_px)
        journal.measure(f"mixed/{name}/{side_px}", check)
        journal.measure(f"cancel/{name}/{side_px}", partial(correctness.cancel, engine, side_px))
        for way in (forwards.EAGER, forwards.GRAPH) if device.type == "cuda" else (forwards.EAGER,):
            forwards.time_forwards(journal, name, shape, denoiser, pipeline.vae, settings.forwards, way)
        journal.measure(f"overhead/{name}/{own.side_px}", partial(engine_points.overhead, engine, own))
        journal.measure(f"loops/{name}/{own.side_px}", partial(engine_points.loops, engine, pipeline, own))
        journal.measure(f"forecasts/{name}/{own.side_px}", partial(engine_points.forecasts, engine, own))
        if device.type == "cuda":
            journal.measure(f"memory/{name}/{side_px}", partial(_little_memory, engine, shape, settings))


def _little_memory(engine: Any, shape: Shape, settings: Settings) -> Mapping[str, Any]:
    count = settings.rows // shape.rows_per_image
    work = partial(correctness.at_once_on, engine, settings.correct_side_px, count)
    return correctness.little_memory(engine, partial(correctness.CudaMemory, work), settings.correct_side_px, count)


def _collect(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


if __name__ == "__main__":
    sys.exit(main())
