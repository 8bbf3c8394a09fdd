"""Images of an engine with ranks beside those of one device, alone and mixed, with requests that end in between."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from imagegen.api.errors import Cancelled, DeadlineExceeded
from imagegen.engine import Engine, EngineProcess, EngineSettings
from imagegen.engine.collate import describe, forward
from imagegen.engine.ranks.rank_group import RankGroup
from imagegen.pipelines.checkpoint import load_denoisers
from perf.rank_trials.families import FAMILIES, wan

MOST_LEVELS = 1
_ENDLESS = 900  # steps
_FEW = 2e-5  # of an output of about 1

REQUESTS: list[dict[str, Any]] = [
    {"prompt": "a red cat", "size": "64x64", "seed": 1, "num_inference_steps": 6},
    {"prompt": "a small blue boat on the sea", "size": "64x64", "seed": 2, "num_inference_steps": 3, "n": 2},
    {"prompt": "the sea", "size": "128x64", "seed": 3, "num_inference_steps": 4},
    {"prompt": "a dog", "size": "64x64", "seed": 4, "num_inference_steps": 5, "guidance_scale": 1.0},
]

Frames = npt.NDArray[np.uint8]


def settings(folder: Path | str, **values: Any) -> EngineSettings:
    """Of an engine on the CPU that takes some requests at once."""
    return EngineSettings(
        model=str(folder), max_active_requests=8, max_num_inference_steps=1000, max_expected_s=0, cpu_threads=1,
        drain_timeout_s=1, **{"warmup_sizes": ("none",), **values},
    )  # fmt: skip


def compare(family: str, parallelism: str, ranks: int) -> str:
    """What was found of one family, in a word: "ok", or what is wrong."""
    with tempfile.TemporaryDirectory(prefix="imagegen-ranks-") as folder:
        FAMILIES[family][0]().save_pretrained(folder)
        with Engine(settings(folder)) as one:
            expected = [_frames(one, request) for request in REQUESTS]
        shared = settings(folder, devices=("cpu",) * ranks, parallelism=parallelism)
        with EngineProcess(shared) as engine:
            alone = [_frames(engine, request) for request in REQUESTS]
            mixed = _mixed(engine)
    worst = max(_levels(*pair) for pair in [*zip(alone, expected, strict=True), *zip(mixed, expected, strict=True)])
    return "ok" if worst <= MOST_LEVELS else f"{worst} levels"


def _mixed(engine: EngineProcess) -> list[Frames]:
    """All at once, while another request is cancelled and one comes too late."""

    def late() -> None:
        try:
            engine.generate("late", size="64x64", num_inference_steps=_ENDLESS, timeout_ms=150)
        except DeadlineExceeded:
            return
        raise AssertionError("it was not too late")

    def cancelled() -> None:
        try:
            for number, _ in enumerate(engine.stream("x", request_id="x", num_inference_steps=_ENDLESS, size="64x64")):
                if number == 2:
                    engine.cancel("x")
        except Cancelled:
            return
        raise AssertionError("it was not cancelled")

    with ThreadPoolExecutor(len(REQUESTS) + 2) as pool:
        ends = [pool.submit(late), pool.submit(cancelled)]
        frames = list(pool.map(lambda request: _frames(engine, request), REQUESTS))
        for end in ends:
            end.result()
    return frames


def _frames(engine: Any, request: dict[str, Any]) -> Frames:
    options = dict(request)
    frames: Frames = engine.generate(options.pop("prompt"), **options).frames
    return frames


def _levels(one: Frames, other: Frames) -> int:
    return int(np.abs(one.astype(int) - other).max()) if one.shape == other.shape else 255


def compare_wan(parallelism: str, ranks: int) -> str:
    """As `compare`, of single forwards, in a process of its own, which is rank 0."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_compare_wan, parallelism, ranks).result()


def _compare_wan(parallelism: str, ranks: int) -> str:
    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="imagegen-ranks-") as folder:
        pipeline = wan()
        pipeline.save_pretrained(folder)
        devices = ("cpu",) * ranks
        shared = settings(folder, devices=devices, parallelism=parallelism)
        alone = load_denoisers(settings(folder), Path(folder), torch.device("cpu"))["transformer"]
        group = RankGroup(shared, Path(folder), devices, Path(folder, "x"))
        group.join(pipeline)
        worst = 0.0
        for number in range(20):
            torch.manual_seed(number)
            given = [
                {
                    "hidden_states": torch.randn(rows, 16, 1, 8, 8),
                    "timestep": torch.full((rows,), 37.0 * rows),
                    "encoder_hidden_states": torch.randn(rows, 12, pipeline.transformer.config.text_dim),
                    "return_dict": False,
                }
                for rows in (2, 1, 2)[: 1 + number % 3]
            ]
            outputs = forward([describe(pipeline.transformer, (), kwargs, 1) for kwargs in given], ranks=group)
            for (output,), kwargs in zip(outputs, given, strict=True):
                worst = max(worst, (output - alone(**kwargs)[0]).abs().max().item())
        group.close()
        time.sleep(0.2)
    return "ok" if worst < _FEW else f"differs by {worst:.1e}"
