"""Every family, task, scheduler, cache, preview, n and neighbour once on the device: the images of the CPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from imagegen.pipelines.checkpoint import IMAGE_TO_IMAGE, INPAINTING, Pipelines
from imagegen.pipelines.previews import fit_projection
from tests.accelerator import DEVICE, device_on_this_thread
from tests.on_accelerator.families import FAMILIES, SIZE, engine_of, on_cpu, on_device, together
from tests.unit.tiny_engine import image, levels, mask

STEPS = 4


def requests_of(pipelines: Pipelines) -> list[dict[str, Any]]:
    """One for each task and each scheduler; some with several images or previews."""
    usual: dict[str, Any] = {"num_inference_steps": STEPS, "seed": 7}
    sized = usual | {"size": SIZE}
    requests: list[dict[str, Any]] = [
        sized | {"n": 2, "partial_images": 1},
        sized | {"prompt": "a small blue boat on the sea", "seed": 2**40 + 1},
        sized | {"guidance_scale": 1.0, "num_inference_steps": STEPS - 1},
    ]
    tasks = pipelines.tasks
    if IMAGE_TO_IMAGE in tasks:
        requests.append(usual | {"images": image(1, height=64, width=64)})
    if INPAINTING in tasks:
        requests.append(usual | {"images": image(2), "mask": mask(), "partial_images": 1})
    for number, scheduler in enumerate(pipelines.schedulers):
        kind: dict[str, Any] = {"images": image(3)} if number % 3 == 1 and IMAGE_TO_IMAGE in tasks else {"size": SIZE}
        requests.append(usual | {"scheduler": scheduler, "seed": 11} | kind)
        if INPAINTING in tasks and number % 3 == 2:
            requests.append(usual | {"scheduler": scheduler, "images": image(4), "mask": mask()})
    return requests


@pytest.mark.parametrize("family", FAMILIES)
def test_the_device_gives_the_images_of_the_cpu(family: str) -> None:
    there, here = on_device(family), on_cpu(family)
    with device_on_this_thread():
        there = replace(there, projection=fit_projection(there.tasks["text-to-image"].pipeline))
    here = replace(here, projection=fit_projection(here.tasks["text-to-image"].pipeline))
    requests = requests_of(here)
    with engine_of(there) as on, engine_of(here) as off:
        results, previews = together(on, requests)
        again, _ = together(on, requests[:1])  # from the caches, alone
        expected, expected_previews = together(off, requests)
    for result, other in zip([*results, *again], [*expected, expected[0]], strict=True):
        assert result.frames.std() > 1
        assert levels(result.frames, other.frames) <= 1
        assert result.statistics.warnings == other.statistics.warnings
    assert {number: len(found) for number, found in previews.items()} == {
        number: len(found) for number, found in expected_previews.items()
    }
    for number, found in previews.items():
        for preview, other_preview in zip(found, expected_previews[number], strict=True):
            assert levels(preview.pixels, other_preview.pixels) <= 1
    assert DEVICE.memory.peak_bytes > 0
