"""All classes of the table of pipelines: six mixed requests at once give the images of plain diffusers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from imagegen.engine import Engine
from imagegen.pipelines.class_table import TABLE
from tests.unit.engine.condition_cases import CASES, FULL, LOW, MIDDLE, controlled
from tests.unit.engine.condition_requests import Together, describe
from tests.unit.engine.plain_pipelines import SIDE_PX, class_of, plain_image, small_inputs
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
        conditioned = next((each for each in case.asked if each.references), case.asked[-1])
        (wide,) = engine.generate(**conditioned.options(0, 2, {"size": "96x64", **case.more})).frames
    assert wide.shape == (64, 96, 3)  # the size that is asked for comes back
    torch.manual_seed(2)  # no image depends on the process's own random numbers
    for request, frame in zip(requests, together.frames, strict=True):
        alone = plain_image(pipelines, request)
        assert alone.std() > 5  # an image, not a constant
        assert frame.shape[:2] == (SIDE_PX, SIDE_PX)
        assert levels(frame, alone) <= 1, class_of(pipelines, request)
    assert {class_of(pipelines, request) for request in requests} == set(case.classes)
    assert together.calls == case.calls
    assert len(together.forwards) <= case.forwards


@pytest.mark.parametrize(
    ("name", "steps", "forwards", "calls"),
    [("sd-control", (4, 3, 3), 8, 20), ("flux-control", (4, 3, 3), 8, 20), ("qwen-image-control", (3, 3, 3), 6, 18)],
)
def test_controls_of_other_scales_share_all_their_forwards(
    name: str, steps: Sequence[int], forwards: int, calls: int, tmp_path: Path
) -> None:
    case = CASES[name]
    pipelines, settings = describe(case.make(), case.networks, tmp_path)
    requests = [controlled(control).options(i, steps[i], {}) for i, control in enumerate((LOW, MIDDLE, FULL))]
    with Engine(settings, pipelines=pipelines) as engine:
        together = Together(engine, requests)
        without = engine.generate(**{key: value for key, value in requests[2].items() if "control" not in key})
    assert together.calls == calls
    assert len(together.forwards) == forwards
    for request, frame in zip(requests, together.frames, strict=True):
        assert levels(frame, plain_image(pipelines, request)) <= 1
    assert levels(together.frames[2], without.frames[0]) > 10  # the control is seen


def test_the_seed_settles_the_image_of_a_control_network_that_samples_without_it(tmp_path: Path) -> None:
    case = CASES["sd3-control"]
    pipelines, settings = describe(case.make(), case.networks, tmp_path)
    request = controlled(FULL).options(0, 2, {})
    with Engine(settings, pipelines=pipelines) as engine:
        torch.manual_seed(1)
        (frame,) = engine.generate(**request).frames
        torch.manual_seed(2)
        (again,) = engine.generate(**request).frames
    assert np.array_equal(frame, again)


@pytest.mark.parametrize("name", TABLE)
def test_each_class_of_the_table_is_in_the_matrix(name: str) -> None:
    assert any(name in case.classes for case in CASES.values())
