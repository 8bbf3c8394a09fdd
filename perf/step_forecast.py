"""`python -m perf.step_forecast`: what a request's step cache saves and what it changes, on the bundled checkpoint.

Images are compared with those of the same requests with every step computed, and so are those of as many plain steps as
a step cache has forwards. Requests a second are of a closed loop, by rounds that take turns. The exit status is 1 when
a target was missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from checkpoint import BUNDLED, captions
from checkpoint.scenes import random_scene
from imagegen.engine import Engine, GenerationResult
from imagegen.pipelines.settings import PipelineSettings
from imagegen.pipelines.step_cadence import computed_steps
from perf.environment import environment, results_folder
from perf.report import Outcome, Section, Target, table, write_report

_CACHES = ("fine", "balanced", "fast")
_BETTER_DB = 8.0  # than as many plain steps
_LEAST_DB = {"balanced": 50.0, "fast": 43.0}
_MOST_LEVELS = {"balanced": 0.5}
_MOST_FORWARDS = {"balanced": 21, "fast": 15}
_LEAST_GAIN = 1.9
_GAP_PX, _LABEL_PX = 4, 76

Frames = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        prompts: unseen captions.
        schedulers: that are compared with themselves.
        steps: of every request.
        side_px: of every image.
        guidance: of every request.
        clients: of the closed loop.
        rounds: of each side.
        requests: of a client in a round.
        seed: of captions and images; those of 20_261_130 were looked at while the cadence was chosen.
    """

    prompts: int = 24
    schedulers: tuple[str, ...] = ("euler", "ddim", "dpmpp_2m")
    steps: int = 50
    side_px: int = 128
    guidance: float = 5.0
    clients: int = 8
    rounds: int = 4
    requests: int = 1
    seed: int = 7_131_719


QUICK = Settings(prompts=2, schedulers=("ddim",), steps=10, side_px=64, clients=2, rounds=1)


@dataclass(frozen=True)
class Distance:
    """How far images are from those of every step.

    Attributes:
        forwards: of an image.
        psnr_db: on the average over images.
        lowest_db: of the image that is furthest.
        levels: mean absolute difference, of 255.
    """

    forwards: int
    psnr_db: float
    lowest_db: float
    levels: float


def distance(frames: Frames, reference: Frames, forwards: int) -> Distance:
    """Compare images, uint8 [n, H, W, 3], with those of every step."""
    difference = frames.astype(np.float64) - reference
    squared = np.maximum((difference**2).mean(axis=(1, 2, 3)), 1e-3)  # equal images count as 78 dB
    psnr_db = 10 * np.log10(255**2 / squared)
    return Distance(forwards, float(psnr_db.mean()), float(psnr_db.min()), float(np.abs(difference).mean()))


def prompts(count: int, seed: int) -> list[str]:
    """Captions of random scenes."""
    rng = Random(seed)
    return [captions.write(random_scene(rng), rng) for _ in range(count)]


def measure(settings: Settings, model: Path) -> Section:
    """What a step cache changes in an image, and what it saves."""
    with Engine.load(model, warmup_sizes="none", cpu_threads=1, max_active_requests=settings.clients) as engine:
        compared = {name: _compare(engine, settings, name) for name in settings.schedulers}
        rates = _rates(engine, settings)
    rows, targets = [], []
    for scheduler, found in compared.items():
        for name, far in found.items():
            shown = (far.forwards, f"{far.psnr_db:.1f}", f"{far.lowest_db:.1f}", f"{far.levels:.2f}")
            rows.append((f"{scheduler}, {name}", *shown))
        targets += _targets(scheduler, found)
    gain = float(np.median([some / every for every, some in zip(rates["off"], rates["balanced"], strict=True)]))
    paragraphs = [
        f"{settings.prompts} captions, {settings.steps} steps, {settings.side_px}x{settings.side_px}, guidance"
        f" {settings.guidance:g}; against every step computed.",
        table(("scheduler, step cache", "forwards", "PSNR dB", "lowest", "levels"), rows),
        f"A closed loop of {settings.clients} clients, requests/s by round: off "
        + ", ".join(f"{rate:.2f}" for rate in rates["off"])
        + "; balanced "
        + ", ".join(f"{rate:.2f}" for rate in rates["balanced"])
        + f". The median of the rounds' ratios is {gain:.2f}.",
    ]
    targets.append(
        Target(f"balanced makes {_LEAST_GAIN} times the requests/s", f"{gain:.2f} times", gain >= _LEAST_GAIN)
    )
    raw = {
        "distances": {name: {key: vars(far) for key, far in found.items()} for name, found in compared.items()},
        "requests_per_s": rates,
    }
    return Section("Step cache", settings, paragraphs, raw, targets)


def sheet(engine: Engine, asked: Sequence[str], settings: Settings) -> Image.Image:
    """A row of images for each step cache, and one for as few plain steps."""
    few = computed_steps(settings.steps, _intervals()["fast"])
    labels: list[tuple[str, dict[str, Any]]] = [(name, {"step_cache": name}) for name in ("off", *_CACHES)]
    labels.append((f"{few} steps", {"num_inference_steps": few}))
    side = settings.side_px + _GAP_PX
    made = Image.new("RGB", (_LABEL_PX + len(asked) * side, len(labels) * side), "white")
    draw = ImageDraw.Draw(made)
    for row, (label, options) in enumerate(labels):
        results = _generate(engine, asked, settings, "ddim", **options)
        forwards = results[0].statistics.computed_steps
        draw.text((4, row * side + side // 2 - 12), f"{label}\n{forwards} forwards", fill="black")
        for column, result in enumerate(results):
            made.paste(Image.fromarray(result.frames[0]), (_LABEL_PX + column * side, row * side))
    return made


def _compare(engine: Engine, settings: Settings, scheduler: str) -> dict[str, Distance]:
    asked = prompts(settings.prompts, settings.seed)
    reference = _frames(_generate(engine, asked, settings, scheduler))
    found = {}
    for name in _CACHES:
        results = _generate(engine, asked, settings, scheduler, step_cache=name)
        forwards = results[0].statistics.computed_steps
        found[name] = distance(_frames(results), reference, forwards)
        plain = _generate(engine, asked, settings, scheduler, num_inference_steps=forwards)
        found[_plain(name)] = distance(_frames(plain), reference, forwards)
    return found


def _rates(engine: Engine, settings: Settings) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {"off": [], "balanced": []}
    asked = prompts(settings.clients * settings.requests, settings.seed + 1)
    for round_number in range(settings.rounds + 1):
        for name, found in rates.items():
            started_s = time.monotonic()
            _generate(engine, asked, settings, "ddim", step_cache=name)
            if round_number:  # the first one remembers prompts
                found.append(len(asked) / (time.monotonic() - started_s))
    return rates


def _targets(scheduler: str, found: dict[str, Distance]) -> list[Target]:
    targets = []
    for name, least_db in _LEAST_DB.items():
        far, most, plain = found[name], _MOST_FORWARDS[name], found[_plain(name)]
        levels = _MOST_LEVELS.get(name)
        meaning = f"{scheduler}, {name}: {least_db:g} dB or more in {most} forwards or fewer" + (
            f", {levels:g} levels at most" if levels else ""
        )
        met = far.forwards <= most and far.psnr_db >= least_db and (levels is None or far.levels <= levels)
        targets.append(
            Target(meaning, f"{far.psnr_db:.1f} dB in {far.forwards} forwards, {far.levels:.2f} levels", met)
        )
        better_db = far.psnr_db - plain.psnr_db
        meaning = f"{scheduler}, {name}: {_BETTER_DB:g} dB better than as many plain steps"
        targets.append(Target(meaning, f"{better_db:.1f} dB", better_db >= _BETTER_DB))
    return targets


def _generate(
    engine: Engine, asked: Sequence[str], settings: Settings, scheduler: str, **options: Any
) -> list[GenerationResult]:
    """An image for each prompt, so many at the same time as there are clients."""
    size = (settings.side_px, settings.side_px)
    shared: dict[str, Any] = {"size": size, "guidance_scale": settings.guidance, "scheduler": scheduler}
    shared = shared | {"num_inference_steps": settings.steps, "step_cache": "off"} | options

    def generate(index: int) -> GenerationResult:
        return engine.generate(asked[index], seed=settings.seed + index, **shared)

    with ThreadPoolExecutor(settings.clients) as pool:
        return list(pool.map(generate, range(len(asked))))


def _frames(results: Sequence[GenerationResult]) -> Frames:
    return np.stack([result.frames[0] for result in results])


def _plain(name: str) -> str:
    return f"as many plain steps as {name}"


def _intervals() -> dict[str, int]:
    return {name: PipelineSettings().step_interval(name) for name in _CACHES}


def main(argv: list[str] | None = None) -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m perf.step_forecast", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only show that it runs")
    parser.add_argument("--model", type=Path, default=BUNDLED, help="folder of a checkpoint")
    parser.add_argument("--side-px", type=int, help="of the images")
    parser.add_argument("--seed", type=int, help="of captions and images")
    parser.add_argument("--out", type=Path, help="folder of the report")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet there, and measure nothing")
    arguments = parser.parse_args(argv)
    settings = QUICK if arguments.quick else Settings()
    if arguments.side_px:
        settings = replace(settings, side_px=arguments.side_px)
    if arguments.seed is not None:
        settings = replace(settings, seed=arguments.seed)
    if arguments.sheet is not None:
        with Engine.load(arguments.model, warmup_sizes="none", cpu_threads=1) as engine:
            sheet(engine, prompts(4, settings.seed), settings).save(arguments.sheet, optimize=True)
        return 0
    about = environment("python -m perf.step_forecast")
    started_s = time.monotonic()
    section = measure(settings, arguments.model.resolve())
    outcome = Outcome("step_forecast", time.monotonic() - started_s, section)
    folder = (arguments.out or results_folder(about)).resolve()
    markdown, _ = write_report(folder, "step_forecast", about, [outcome])
    print(markdown)
    return 1 if any(target.met is False for target in section.targets) else 0


if __name__ == "__main__":
    sys.exit(main())
