"""Requests of one model, made by the engine, by the plain pipeline, and in fixed batches."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from imagegen.engine import Engine, EngineSettings
from imagegen.engine.seeded_generator import seeded_generator
from imagegen.pipelines.checkpoint import describe_pipelines

Frame = npt.NDArray[np.uint8]
SHORT_SHARE = 0.7
_DELAY_S = 0.01  # that a batch waits for company


@dataclass(frozen=True)
class Asked:
    """One image.

    Attributes:
        seed: of its noise.
        steps: of it.
        side_px: its width and height.
        step_cache: for this engine alone.
    """

    seed: int
    steps: int
    side_px: int
    step_cache: str = ""

    @property
    def prompt(self) -> str:
        """Its own."""
        return f"image {self.seed}"


Make = Callable[[Asked], Frame]


def mixed(count: int, short_steps: int, long_steps: int, side_px: int) -> list[Asked]:
    """Seven of ten with few steps, the others with many, evenly mixed."""
    longs = [
        int((number + 1) * (1 - SHORT_SHARE) + 1e-9) > int(number * (1 - SHORT_SHARE) + 1e-9) for number in range(count)
    ]
    return [Asked(number, long_steps if is_long else short_steps, side_px) for number, is_long in enumerate(longs)]


def engine_of(pipeline: Any, device: torch.device, clients: int, **settings: Any) -> Engine:
    """An engine for a pipeline that is on its device.

    Args:
        pipeline: stays as it is, and usable.
        device: where it is.
        clients: requests at the same time.
        settings: further ones.
    """
    own = EngineSettings(
        model="random", max_active_requests=clients, max_num_inference_steps=1000, max_expected_s=0,
        warmup_sizes=("none",), prompt_cache_bytes=0, image_cache_bytes=0, **settings,
    )  # fmt: skip
    return Engine(own, pipelines=describe_pipelines(pipeline, own, device))


def by_engine(engine: Engine) -> Make:
    """Each request for itself; those at the same time share forwards."""

    def make(asked: Asked) -> Frame:
        more = {"step_cache": asked.step_cache} if asked.step_cache else {}
        size = (asked.side_px, asked.side_px)
        options: Any = {"size": size, "num_inference_steps": asked.steps, "seed": asked.seed, **more}
        frame: Frame = engine.generate(asked.prompt, **options).frames[0]
        return frame

    return make


def by_pipeline(pipeline: Any) -> Make:
    """One after the other."""
    lock = threading.Lock()

    def make(asked: Asked) -> Frame:
        with lock:
            return _call(pipeline, [asked])[0]

    return make


class FixedBatches:
    """What a server that batches whole requests does: those of equal steps that wait together are one call.

    Args:
        pipeline: makes them.
        most: images of a batch.
    """

    def __init__(self, pipeline: Any, most: int) -> None:
        self._pipeline = pipeline
        self._most = most
        self._asked: queue.SimpleQueue[tuple[Asked, Future[Frame]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="fixed-batches")
        self._thread.start()

    def __call__(self, asked: Asked) -> Frame:
        """Its image, with those of others."""
        image: Future[Frame] = Future()
        self._asked.put((asked, image))
        return image.result()

    def close(self) -> None:
        """End; of those that wait none is made."""
        self._asked.put(None)
        self._thread.join()

    def _run(self) -> None:
        waiting: list[tuple[Asked, Future[Frame]]] = []
        while True:
            if not waiting:
                first = self._asked.get()
                if first is None:
                    return
                waiting.append(first)
                time.sleep(_DELAY_S)
            while not self._asked.empty():
                more = self._asked.get()
                if more is None:
                    return
                waiting.append(more)
            same = [one for one in waiting if replace(one[0], seed=0) == replace(waiting[0][0], seed=0)][: self._most]
            waiting = [one for one in waiting if one not in same]
            try:
                frames = _call(self._pipeline, [asked for asked, _ in same])
            except Exception as error:
                for _, image in same:
                    image.set_exception(error)
            else:
                for (_, image), frame in zip(same, frames, strict=True):
                    image.set_result(frame)


def _call(pipeline: Any, asked: Sequence[Asked]) -> list[Frame]:
    with torch.no_grad():
        images = pipeline(
            [one.prompt for one in asked],
            width=asked[0].side_px,
            height=asked[0].side_px,
            num_inference_steps=asked[0].steps,
            generator=[seeded_generator(one.seed) for one in asked],
            output_type="np",
        ).images
    return [(image * 255).round().astype(np.uint8) for image in images]


@dataclass(frozen=True)
class Loop:
    """What a closed loop came to.

    Attributes:
        seconds: from the first request to the last image.
        requests_per_s: of all clients.
        short_p95_s, long_p50_s: latencies.
        frames: in the order of the requests.
    """

    seconds: float
    requests_per_s: float
    short_p95_s: float
    long_p50_s: float
    frames: tuple[Frame, ...]


def closed_loop(make: Make, requests: Sequence[Asked], clients: int) -> Loop:
    """Clients that take requests from one line, each the next one when its own is done."""
    took_s: dict[Asked, float] = {}

    def ask(asked: Asked) -> Frame:
        began_s = time.monotonic()
        frame = make(asked)
        took_s[asked] = time.monotonic() - began_s
        return frame

    began_s = time.monotonic()
    with ThreadPoolExecutor(clients) as threads:
        frames = tuple(threads.map(ask, requests))
    seconds = time.monotonic() - began_s
    fewest = min(asked.steps for asked in requests)
    short = [one for asked, one in took_s.items() if asked.steps == fewest]
    long = [one for asked, one in took_s.items() if asked.steps != fewest] or short
    return Loop(seconds, len(requests) / seconds, float(np.percentile(short, 95)), float(np.median(long)), frames)


def levels(one: Frame, other: Frame) -> tuple[int, float]:
    """The largest and the mean difference of two images, of 255."""
    difference = np.abs(one.astype(int) - other.astype(int))
    return int(difference.max()), float(difference.mean())
