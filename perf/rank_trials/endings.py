"""Ranks that are killed under load, and many that start at once."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from imagegen.api.errors import Unavailable
from imagegen.engine import EngineProcess
from perf.rank_trials.exact import settings
from tests.unit import tiny_pipelines as tiny

_CLIENTS = 3
_LATEST_S = 1.0


def kill_ranks(times: int, ranks: int, seed: int = 0) -> tuple[Counter[str], list[str]]:
    """Kill a rank at random moments under load.

    Returns:
        outcomes of requests, with the kills, and what is wrong.
    """
    dice = random.Random(seed)
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    killed_s = [0.0]
    done = threading.Event()
    with tempfile.TemporaryDirectory(prefix="imagegen-ranks-") as folder:
        tiny.sd().save_pretrained(folder)
        with EngineProcess(settings(folder, devices=("cpu",) * ranks)) as engine:
            own = psutil.Process()

            def client(number: int) -> None:
                mine = random.Random(number)
                while not done.is_set():
                    try:
                        engine.generate(f"{mine.random()}", size="64x64", num_inference_steps=mine.randint(2, 40))
                        outcomes["succeeded"] += 1
                    except Unavailable:
                        outcomes["unavailable"] += 1
                        if time.monotonic() - killed_s[0] > _LATEST_S:
                            wrong.append(f"answered {time.monotonic() - killed_s[0]:.1f} s after the kill")
                    except Exception as error:
                        wrong.append(repr(error))

            with ThreadPoolExecutor(_CLIENTS) as pool:
                clients = [pool.submit(client, number) for number in range(_CLIENTS)]
                for _ in range(times):
                    before = outcomes["succeeded"]
                    while outcomes["succeeded"] < before + _CLIENTS:  # it is there, and at work
                        time.sleep(0.01)
                    time.sleep(dice.random())
                    victim = dice.choice(_ranks(own))
                    killed_s[0] = time.monotonic()
                    os.kill(victim, signal.SIGKILL)
                    outcomes["kills"] += 1
                done.set()
                for one in clients:
                    one.result()
        if left := own.children(recursive=True):
            wrong.append(f"left behind: {left}")
    return outcomes, wrong


def start_together(times: int, engines: int, ranks: int) -> list[str]:
    """Start engines of several ranks at once, warmed up with all their tasks, and use each; what is wrong."""
    wrong: list[str] = []
    with tempfile.TemporaryDirectory(prefix="imagegen-ranks-") as folder:
        tiny.sd().save_pretrained(folder)

        def use(number: int) -> None:
            warm: Any = {"warmup_sizes": ("64x64",), "default_num_inference_steps": 2}
            with EngineProcess(settings(Path(folder), devices=("cpu",) * ranks, **warm)) as engine:
                if tuple(engine.description.tasks) != ("text-to-image", "image-to-image", "inpainting"):
                    wrong.append(f"lacks a task: {tuple(engine.description.tasks)}")
                image = np.full((64, 64, 3), number, np.uint8)
                engine.generate("a cat", images=image, strength=1.0)

        for _ in range(times):
            with ThreadPoolExecutor(engines) as pool:
                for outcome in [pool.submit(use, number) for number in range(engines)]:
                    if error := outcome.exception():
                        wrong.append(repr(error))
            if left := psutil.Process().children(recursive=True):
                wrong.append(f"left behind: {left}")
    return wrong


def _ranks(own: psutil.Process) -> list[int]:
    """Of the engine's processes, those that are no rank 0."""
    return [child.pid for child in own.children(recursive=True) if "imagegen.engine.ranks" in child.cmdline()]
