"""A scheduler that would end in no image is refused before any work, for the number of steps that it cannot do."""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch

from imagegen.api.errors import InvalidArgument
from imagegen.pipelines.checkpoint import Pipelines, describe_pipelines
from tests.unit import tiny_pipelines as tiny
from tests.unit.pipelines.test_plan import SETTINGS, plan


def cosine(**changes: Any) -> Pipelines:
    """The bundled checkpoint's noise schedule, in a loaded pipeline."""
    pipeline = tiny.sd()
    schedule: dict[str, Any] = {"beta_schedule": "squaredcos_cap_v2", "timestep_spacing": "trailing"}
    schedule |= {"steps_offset": 1, "clip_sample": False}
    own = changes.pop("own", diffusers.DDIMScheduler)
    pipeline.scheduler = own.from_config(schedule | changes)
    return describe_pipelines(pipeline, SETTINGS, torch.device("cpu"))


def test_a_scheduler_that_ends_in_no_image_is_refused_for_that_number_of_steps_alone() -> None:
    pipelines = cosine()
    for steps in (1, 2, 4, 5, 20):
        plan(pipelines=pipelines, scheduler="euler_ancestral", num_inference_steps=steps)
    with pytest.raises(InvalidArgument, match=r"scheduler: euler_ancestral gives no image in 3 .* or one of ddim"):
        plan(pipelines=pipelines, scheduler="euler_ancestral", num_inference_steps=3)


def test_the_checkpoints_own_scheduler_is_judged_too() -> None:
    pipelines = cosine(own=diffusers.UniPCMultistepScheduler, use_karras_sigmas=True)
    plan(pipelines=pipelines, num_inference_steps=5)
    with pytest.raises(InvalidArgument, match=r"num_inference_steps: unipc gives no image in 20 steps .* one of ddim"):
        plan(pipelines=pipelines, num_inference_steps=20)
    plan(pipelines=pipelines, num_inference_steps=20, scheduler="ddim")


def test_a_scheduler_that_is_called_in_a_way_of_its_own_is_not_judged() -> None:
    pipeline = tiny.sd()
    pipeline.scheduler = diffusers.SCMScheduler()
    plan(pipelines=describe_pipelines(pipeline, SETTINGS, torch.device("cpu")), num_inference_steps=7)
