"""An engine with a tiny pipeline, and what tests ask of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import torch

from imagegen.engine import Engine, EngineSettings
from imagegen.engine.adapters.adapter_store import AdapterStore
from imagegen.engine.adapters.engine_adapters import adapter_store
from imagegen.pipelines.checkpoint import Pipelines, describe_pipelines
from tests.unit import tiny_pipelines as tiny

TIMEOUT_S = 20
ENDLESS = 900  # steps that nobody waits for
SLOTS = 4
SETTINGS = EngineSettings(
    model="tiny", max_active_requests=SLOTS, default_num_inference_steps=3, max_num_inference_steps=1000
)

Pixels = npt.NDArray[np.uint8]


@cache
def pipelines() -> Pipelines:
    """Stable Diffusion 1.5 with random weights."""
    return describe_pipelines(tiny.sd(), SETTINGS, torch.device("cpu"))


def tiny_engine(settings: EngineSettings = SETTINGS, **options: Any) -> Engine:
    """An engine of its own, to be closed."""
    return Engine(settings, pipelines=options.pop("pipelines", None) or pipelines(), **options)


def no_adapters() -> AdapterStore:
    """A store of adapters that is never asked for one."""
    return adapter_store(SETTINGS, pipelines(), Path(), lambda seconds: None)


def image(seed: int = 0, count: int = 1, height: int = 32, width: int = 32) -> Pixels:
    """Random images, uint8 [count, height, width, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def mask() -> Pixels:
    """The left half is to be repainted, uint8 [1, 32, 32]."""
    area = np.zeros((1, 32, 32), np.uint8)
    area[:, :, :16] = 255
    return area


def levels(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> int:
    """Largest difference of two images, in 0..255."""
    return int(np.abs(one.astype(int) - other).max())


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do; fails when it does not."""
    for _ in range(TIMEOUT_S * 1000):
        if condition():
            return
        time.sleep(0.001)
    raise AssertionError("it never came true")


def has_ended(process: psutil.Process) -> bool:
    """Whether it has; that somebody has still to take note of its end does not matter."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Gate:
    """Holds forwards back, and counts them.

    Attributes:
        steps: forwards that were begun.
        reached: set while a forward waits at the closed gate.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.reached = threading.Event()
        self._open = threading.Event()
        self._open.set()

    def close(self) -> None:
        """Have the next forward wait."""
        self._open.clear()

    def open(self) -> None:
        """Let forwards run."""
        self._open.set()
        self.reached.clear()

    def put_before(self, module: torch.nn.Module) -> Callable[[], None]:
        """Put the gate before a module's forward; a function that removes it again."""
        return module.register_forward_pre_hook(lambda *_: self._pass()).remove

    def _pass(self) -> None:
        self.steps += 1
        if not self._open.is_set():
            self.reached.set()
            assert self._open.wait(TIMEOUT_S)
