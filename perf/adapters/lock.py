"""The part `lock`: what people do today, one pipeline behind a lock and `set_adapters`, against adapters by row.

Eight clients in a closed loop, each request with one of several adapters. Both sides are in this process, take turns by
rounds, and get the same requests; an HTTP server in front would add the same to both.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import DiffusionPipeline

from imagegen.engine import Engine, EngineSettings
from imagegen.engine.seeded_generator import seeded_generator
from perf.report import Section, Target, table
from tests.unit.engine.adapters.made import write_adapter

_MOST_LEVELS = 2
_PROMPT = "a red star"

Frame = npt.NDArray[np.uint8]
Generate = Callable[[int], Frame]
"""The image of a request by its number."""


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        rounds: of each side.
        requests: of a round.
        clients: at the same time.
        adapters: different ones.
        rank: of each.
        short_steps, long_steps: of seven requests in ten, and of the others.
        side_px: width and height of the images.
    """

    rounds: int = 3
    requests: int = 20
    clients: int = 8
    adapters: int = 8
    rank: int = 4
    short_steps: int = 4
    long_steps: int = 50
    side_px: int = 64

    def steps(self, number: int) -> int:
        """Of a request by its number."""
        return self.short_steps if number % 10 < 7 else self.long_steps


QUICK = Settings(rounds=1, requests=8, long_steps=8, side_px=32)


@dataclass(frozen=True)
class Round:
    """What one side did in one round.

    Attributes:
        requests_per_s: of all clients.
        short_p95_ms: of the short requests.
        frames: by the request's number.
    """

    requests_per_s: float
    short_p95_ms: float
    frames: dict[int, Frame]


def measure(settings: Settings, checkpoint: Path) -> Section:
    """Generate by both, in turns."""
    with tempfile.TemporaryDirectory(prefix="imagegen-adapters-") as folder:
        plain: Any = DiffusionPipeline.from_pretrained(checkpoint, dtype=torch.float32)
        files = {
            f"a{number}": write_adapter(plain, Path(folder, f"a{number}.safetensors"), number, rank=settings.rank)
            for number in range(settings.adapters)
        }
        behind_lock = _behind_lock(plain, files, settings)
        torch.set_num_threads(1)
        engine_settings = EngineSettings(
            model=str(checkpoint), dtype="float32", device="cpu", cpu_threads=1, warmup_sizes=("none",),
            prompt_cache_bytes=0, image_cache_bytes=0, max_loras=settings.adapters, lora_folder=folder,
            max_active_requests=settings.clients,
        )  # fmt: skip
        with Engine(engine_settings) as engine:
            by_row = _by_row(engine, settings)
            for generate in (behind_lock, by_row):
                generate(0)
            pairs = []
            for number in range(settings.rounds):
                turns = [behind_lock, by_row] if number % 2 else [by_row, behind_lock]
                done = {generate: one_round(generate, settings) for generate in turns}
                pairs.append((done[behind_lock], done[by_row]))
    return section(settings, pairs)


def _behind_lock(pipeline: Any, files: dict[str, Path], settings: Settings) -> Generate:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's, at each further adapter
        for name, file in files.items():
            pipeline.load_lora_weights(str(file), adapter_name=name)
    pipeline.set_progress_bar_config(disable=True)
    lock, names = threading.Lock(), list(files)

    def generate(number: int) -> Frame:
        with lock, torch.no_grad():
            pipeline.set_adapters([names[number % len(names)]], [1.0])
            image = pipeline(
                _PROMPT,
                width=settings.side_px,
                height=settings.side_px,
                num_inference_steps=settings.steps(number),
                guidance_scale=5.0,
                generator=seeded_generator(number),
                output_type="np",
            ).images[0]
        frame: Frame = (image * 255).round().astype(np.uint8)
        return frame

    return generate


def _by_row(engine: Engine, settings: Settings) -> Generate:
    def generate(number: int) -> Frame:
        frame: Frame = engine.generate(
            _PROMPT,
            size=(settings.side_px, settings.side_px),
            num_inference_steps=settings.steps(number),
            guidance_scale=5.0,
            seed=number,
            lora=f"a{number % settings.adapters}",
        ).frames[0]
        return frame

    return generate


def one_round(generate: Generate, settings: Settings) -> Round:
    """All requests of a round by one side."""
    took_s: dict[int, float] = {}

    def ask(number: int) -> tuple[int, Frame]:
        asked_s = time.monotonic()
        frame = generate(number)
        took_s[number] = time.monotonic() - asked_s
        return number, frame

    began_s = time.monotonic()
    with ThreadPoolExecutor(settings.clients) as threads:
        frames = dict(threads.map(ask, range(settings.requests)))
    whole_s = time.monotonic() - began_s
    short_ms = [took_s[number] * 1000 for number in frames if settings.steps(number) == settings.short_steps]
    return Round(settings.requests / whole_s, float(np.percentile(short_ms, 95)), frames)


def section(settings: Settings, pairs: list[tuple[Round, Round]]) -> Section:
    """What the report says about it.

    Args:
        settings: as measured with.
        pairs: of each round, behind the lock and by row.
    """
    gains = [row.requests_per_s / lock.requests_per_s for lock, row in pairs]
    shorter = [lock.short_p95_ms / row.short_p95_ms for lock, row in pairs]
    levels = max(
        int(np.abs(lock.frames[number].astype(int) - row.frames[number]).max())
        for lock, row in pairs
        for number in lock.frames
    )
    sides = (("a lock and set_adapters", [a for a, _ in pairs]), ("by row", [b for _, b in pairs]))
    median = statistics.median
    rows = [
        (name, median(one.requests_per_s for one in side), median(one.short_p95_ms for one in side))
        for name, side in sides
    ]
    return Section(
        title="A lock and set_adapters, against adapters by row",
        settings=settings,
        paragraphs=[
            f"{settings.clients} clients in a closed loop, {settings.requests} requests a round, each with one of"
            f" {settings.adapters} adapters of rank {settings.rank}; seven in ten have {settings.short_steps} steps,"
            f" the others {settings.long_steps}. Both sides in one process, one torch thread, in turns; medians of"
            f" {len(pairs)} rounds. At most {levels} levels between the images of both.",
            table(("side", "requests/s", "p95 of short ones, ms"), rows),
            f"By rounds: {', '.join(f'{gain:.2f}' for gain in gains)} times the requests/s; p95 of short ones"
            f" {', '.join(f'{gain:.1f}' for gain in shorter)} times shorter.",
        ],
        raw={"requests_per_s": gains, "short_p95": shorter, "levels": levels},
        targets=[
            Target("more requests/s than behind a lock", f"{statistics.median(gains):.2f}x", min(gains) > 1),
            Target("the same images", f"{levels} levels", levels <= _MOST_LEVELS),
        ],
    )
