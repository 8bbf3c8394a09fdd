"""Families of pipelines on the device and on the CPU, and many requests at once to either."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import FirstBlockCacheConfig

from imagegen.api.events import Preview
from imagegen.engine import Engine, EngineSettings, GenerationResult
from imagegen.pipelines.checkpoint import Pipelines, describe_pipelines
from imagegen.pipelines.denoisers import DENOISERS
from tests.accelerator import described, engine_on_device
from tests.unit import tiny_pipelines as tiny
from tests.unit.tiny_engine import SETTINGS

SIZE = "64x64"


def cached_flux() -> Any:
    """Flux with a cache between steps."""
    pipeline = tiny.flux()
    pipeline.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.05))
    return pipeline


FAMILIES: dict[str, Callable[[], Any]] = {
    "sd": tiny.sd,
    "sdxl": tiny.sdxl,
    "sd3": tiny.sd3,
    "flux": tiny.flux,
    "flux-cached": cached_flux,
    "pixart-sigma": tiny.pixart_sigma,
    "sana": tiny.sana,
    "lumina2": tiny.lumina2,
    "qwen-image": tiny.qwen_image,
    "z-image": tiny.z_image,
}


def on_cpu(family: str, settings: EngineSettings = SETTINGS) -> Pipelines:
    return describe_pipelines(FAMILIES[family](), settings, torch.device("cpu"))


def on_device(family: str, settings: EngineSettings = SETTINGS) -> Pipelines:
    return described(FAMILIES[family](), settings)


def denoiser(pipelines: Pipelines) -> Any:
    pipeline = pipelines.tasks["text-to-image"].pipeline
    return next(getattr(pipeline, name) for name in DENOISERS if getattr(pipeline, name, None) is not None)


@contextmanager
def engine_of(pipelines: Pipelines, settings: EngineSettings = SETTINGS) -> Iterator[Engine]:
    """An engine wherever the pipelines are."""
    if pipelines.device.type == "cpu":
        with Engine(settings, pipelines=pipelines) as engine:
            yield engine
    else:
        with engine_on_device(pipelines, settings) as engine:
            yield engine


def together(
    engine: Engine, requests: Sequence[dict[str, Any]]
) -> tuple[list[GenerationResult], dict[int, list[Preview]]]:
    """All requests at once. Those that ask for previews are followed.

    Returns:
        the results in order, and the previews by number of the request.
    """
    previews: dict[int, list[Preview]] = {}

    def generate(number: int) -> GenerationResult:
        options = dict(requests[number])
        prompt = options.pop("prompt", "a red cat")
        if "partial_images" not in options:
            return engine.generate(prompt, **options)
        *events, result = engine.stream(prompt, **options)
        previews[number] = [event for event in events if isinstance(event, Preview)]
        assert isinstance(result, GenerationResult)
        return result

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(generate, range(len(requests)))), previews
