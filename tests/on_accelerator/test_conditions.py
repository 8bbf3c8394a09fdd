"""References and control images on the device: the images of the CPU, and nothing synchronises in a tick."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from imagegen.engine import EngineSettings
from imagegen.pipelines.checkpoint import Pipelines
from imagegen.pipelines.denoisers import denoisers_of
from tests.accelerator import DEVICE, TORCH_DEVICE, Kind, engine_on_device, move_pipeline
from tests.on_accelerator import budgets
from tests.on_accelerator.costs import cost_of
from tests.on_accelerator.families import engine_of
from tests.unit.engine.condition_cases import CASES, FULL, ONE, SHORT, WIDE, controlled, editing
from tests.unit.engine.condition_requests import Together, describe
from tests.unit.engine.plain_pipelines import small_inputs
from tests.unit.tiny_engine import levels

pytestmark = [
    pytest.mark.filterwarnings("ignore:The decode_latents method is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:`FluxPosEmbed` is deprecated:FutureWarning"),
]
CONDITIONED = [name for name, case in CASES.items() if any(each.references or each.controls for each in case.asked)]
ASKED = {
    "sd-control": controlled(FULL, SHORT),
    "flux-control": controlled(FULL),
    "flux2": editing(ONE, WIDE),
    "flux-kontext": editing(WIDE),
    "qwen-image-edit-plus": editing(ONE, WIDE),
}


@pytest.fixture(autouse=True)
def _small_inputs() -> Iterator[None]:
    with small_inputs():
        yield


def on_device(name: str, folder: Path) -> tuple[Pipelines, EngineSettings]:
    """A checkpoint of the matrix with its control networks, all of them on the device."""
    pipelines, settings = describe(CASES[name].make(), CASES[name].networks, folder)
    for pipeline in pipelines.all_pipelines():
        move_pipeline(pipeline)
    networks = {kind: each.network for kind, each in pipelines.controls.types.items()}
    move_pipeline(SimpleNamespace(components=networks))
    return replace(pipelines, device=TORCH_DEVICE), settings


@pytest.mark.parametrize("name", CONDITIONED)
def test_the_device_gives_the_images_of_the_cpu(name: str, tmp_path: Path) -> None:
    there, settings = on_device(name, tmp_path)
    here, _ = describe(CASES[name].make(), CASES[name].networks, tmp_path)
    requests = CASES[name].requests()
    with engine_on_device(there, settings) as on, engine_of(here, settings) as off:
        frames = Together(on, requests).frames
        expected = Together(off, requests).frames
    for frame, other in zip(frames, expected, strict=True):
        assert levels(frame, other) <= 1
    assert DEVICE.memory.peak_bytes > 0


@pytest.mark.parametrize("name", ASKED)
def test_conditions_keep_to_the_budget(name: str, tmp_path: Path) -> None:
    pipelines, settings = on_device(name, tmp_path)
    options: dict[str, Any] = ASKED[name].options(0, 1, CASES[name].more)
    options = {key: value for key, value in options.items() if key not in ("prompt", "seed", "num_inference_steps")}
    modules = {id(each): each for pipeline in pipelines.all_pipelines() for each in denoisers_of(pipeline).values()}
    modules |= {id(each.network): each.network for each in pipelines.controls.types.values()}
    with engine_on_device(pipelines, settings) as engine:
        cost = cost_of(engine, *modules.values(), **options)
    assert cost.over(budgets.CONDITIONS[name]) == []
    assert not [line for line in cost.tick[Kind.SYNCHRONISATION] if line.startswith("imagegen/")]
