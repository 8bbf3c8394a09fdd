"""Requests with references and control images: through an engine all at once, and alone by plain diffusers."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image

from imagegen.engine import Engine, EngineSettings, GenerationResult, model_runner
from imagegen.engine.collate import DenoiserCall
from imagegen.engine.forward_costs import ForwardCosts
from imagegen.pipelines.checkpoint import Pipelines, describe_pipelines
from tests.unit.engine.family_cases import PROMPTS
from tests.unit.engine.plain_pipelines import SIDE_PX
from tests.unit.tiny_engine import TIMEOUT_S, Pixels, wait_until
from tests.unit.tiny_pipelines.control_networks import strong

STEPS = (5, 4, 3, 2, 2, 2)
CPU = torch.device("cpu")


def picture(seed: int, height: int = SIDE_PX, width: int = SIDE_PX) -> Pixels:
    """An input image with areas of different colours, uint8 [height, width, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.NEAREST)).copy()


def upper_half() -> Pixels:
    """A mask, uint8 [SIDE_PX, SIDE_PX], 255 = repaint."""
    mask = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    mask[: SIDE_PX // 2] = 255
    return mask


@dataclass(frozen=True)
class Asked:
    """What a request asks for beside what all requests do.

    Attributes:
        given: "text", "image" to start from, or "mask" for an image of which a part is repainted.
        references: height and width of each.
        controls: type, scale and end of each.
        side_px: of the image to start from.
    """

    given: str = "text"
    references: Sequence[tuple[int, int]] = ()
    controls: Sequence[tuple[str, float, float]] = ()
    side_px: int = SIDE_PX

    def options(self, number: int, steps: int, more: Mapping[str, Any]) -> dict[str, Any]:
        """For `Engine.generate`: own prompt, seed, steps and guidance for each number."""
        options: dict[str, Any] = {"prompt": PROMPTS[number], "seed": 100 + number, "num_inference_steps": steps}
        options |= {"size": f"{SIDE_PX}x{SIDE_PX}", "guidance_scale": 2.0 + number}
        if self.given != "text":
            options["images"] = picture(10 + number, self.side_px, self.side_px)
            options["strength"] = 1.0
        if self.given == "mask":
            options["mask"] = upper_half()
        if self.references:
            options["references"] = [picture(20 + number + i, *size) for i, size in enumerate(self.references)]
        if self.controls:
            types, scales, ends = (list(values) for values in zip(*self.controls, strict=True))
            options["controls"] = np.stack([picture(30 + number + 7 * i) for i in range(len(types))])
            options |= {"control_type": types, "control_scale": scales, "control_end": ends}
        return {name: value for name, value in (options | dict(more)).items() if value is not None}


def describe(
    base: Any, networks: Mapping[str, Callable[[], Any]], folder: Path, place: Callable[..., Pipelines] | None = None
) -> tuple[Pipelines, EngineSettings]:
    """A pipeline with control networks that are loaded from folders, by the type that each reads."""
    for number, (name, make) in enumerate(networks.items()):
        strong(make(), 1 + number / 2).save_pretrained(folder / name)  # no two are alike
    settings = EngineSettings(
        model="tiny", max_active_requests=8, controlnets=tuple(f"{name}={name}" for name in networks)
    )
    return (place or describe_pipelines)(base, settings, CPU, folder), settings


class Together:
    """Runs requests in one engine, all of them at once, and keeps the forwards that they took.

    Attributes:
        frames: the images, uint8 [H, W, 3], in the order of the requests.
        forwards: the calls of each forward.
    """

    def __init__(self, engine: Engine, requests: Sequence[dict[str, Any]]) -> None:
        self.forwards: list[list[DenoiserCall]] = []
        run = model_runner.forward

        def counted(calls: Sequence[DenoiserCall], *rest: Any) -> list[Any]:
            self.forwards.append(list(calls))
            return run(calls, *rest)

        with (
            mock.patch.object(model_runner, "forward", counted),
            _forwards_of_equal_cost(),
            ThreadPoolExecutor(len(requests) + 1) as pool,
        ):
            with _device_held(engine, pool):
                results = [_submitted(engine, pool, request) for request in requests]
            self.frames: list[Pixels] = [result.result().frames[0] for result in results]

    @property
    def calls(self) -> int:
        """Denoiser calls that were made."""
        return sum(map(len, self.forwards))


@contextmanager
def _forwards_of_equal_cost() -> Iterator[None]:
    """No clock decides which calls share a forward while the block runs."""
    with (
        mock.patch.object(ForwardCosts, "seconds", return_value=0.001),
        mock.patch.object(ForwardCosts, "fixed_rows", return_value=math.inf),
    ):
        yield


@contextmanager
def _device_held(engine: Engine, pool: ThreadPoolExecutor) -> Iterator[None]:
    """Nothing is begun while the block runs, so that all that is asked for meanwhile begins together."""
    let_go = threading.Event()
    held = pool.submit(engine._runner.run_on_device_thread, lambda: _wait(let_go))
    try:
        yield
    finally:
        let_go.set()
        held.result()


def _submitted(engine: Engine, pool: ThreadPoolExecutor, request: dict[str, Any]) -> Future[GenerationResult]:
    """A request that has its slot, so that requests begin in the order in which they are given."""
    before = engine.active_requests
    result = pool.submit(engine.generate, **request)
    wait_until(lambda: result.done() or engine.active_requests > before)
    return result


def _wait(event: threading.Event) -> None:
    assert event.wait(TIMEOUT_S)
