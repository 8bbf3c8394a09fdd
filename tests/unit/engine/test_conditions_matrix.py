"""All classes of the table of pipelines: six mixed requests at once give the images of plain diffusers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from imagegen.engine import Engine
from imagegen.pipelines.class_table import TABLE
from tests.unit.engine.condition_cases import CASES
from tests.unit.engine.condition_requests import Together, describe
from tests.unit.engine.plain_pipelines import class_of, plain_image, small_inputs
from tests.unit.tiny_engine import levels

pytestmark = [
    pytest.mark.filterwarnings("ignore:The decode_latents method is deprecated:FutureWarning"),  # diffusers' own use
    pytest.mark.filterwarnings("ignore:`FluxPosEmbed` is deprecated:FutureWarning"),
]


@pytest.fixture(autouse=True)
def _small_inputs() -> Iterator[None]:
    with small_inputs():
        yield


@pytest.mark.parametrize("name", CASES)
def test_six_mixed_requests_give_the_images_of_plain_diffusers(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    requests = case.requests()
    pipelines, settings = describe(case.make(), case.networks, tmp_path)
    torch.manual_seed(1)
    with Engine(settings, pipelines=pipelines) as engine:
        together = Together(engine, requests)
    torch.manual_seed(2)  # no image depends on the process's own random numbers
    print("MEASURED", name, len(together.forwards), together.calls)
    for request, frame in zip(requests, together.frames, strict=True):
        alone = plain_image(pipelines, request)
        assert alone.std() > 5  # an image, not a constant
        assert levels(frame, alone) <= 1, class_of(pipelines, request)
    assert {class_of(pipelines, request) for request in requests} == set(case.classes)
    assert together.calls == case.calls
    assert len(together.forwards) <= case.forwards


@pytest.mark.parametrize("name", TABLE)
def test_each_class_of_the_table_is_in_the_matrix(name: str) -> None:
    assert any(name in case.classes for case in CASES.values())
