"""What a pipeline's call takes is read off its signature, and which argument is the guidance off its denoiser."""

from __future__ import annotations

from typing import Any

import pytest

from imagegen.pipelines.class_table import TABLE
from imagegen.pipelines.task_pipeline import TaskPipeline
from tests.unit import tiny_pipelines as tiny


def of(pipeline: Any) -> TaskPipeline:
    return TaskPipeline.of(pipeline, TABLE[type(pipeline).__name__])


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (tiny.sd, "guidance_scale"),
        (tiny.flux, "guidance_scale"),  # distilled
        (lambda: tiny.flux(guidance_embeds=False), "true_cfg_scale"),
        (tiny.qwen_image, "true_cfg_scale"),
        (tiny.qwen_edit_plus, "true_cfg_scale"),
        (tiny.flux2, "guidance_scale"),
    ],
)
def test_guidance_goes_to_the_argument_that_counts(make: Any, argument: str) -> None:
    assert of(make()).guidance_argument == argument


def test_the_defaults_are_those_of_the_call() -> None:
    task = of(tiny.flux2_klein())
    assert task.defaults["num_inference_steps"] == 50
    assert task.defaults["guidance_scale"] == 4.0
    assert "image" in task.accepts


@pytest.mark.parametrize(
    ("make", "takes"),
    [
        (tiny.sd, ("negative_prompt", "guidance_scale")),
        (tiny.sd_image_to_image, ("negative_prompt", "guidance_scale", "strength")),
        (tiny.flux2, ("guidance_scale",)),
        (tiny.qwen_edit, ("negative_prompt", "guidance_scale")),
    ],
)
def test_it_says_which_public_inputs_it_takes(make: Any, takes: tuple[str, ...]) -> None:
    assert of(make()).takes() == takes
