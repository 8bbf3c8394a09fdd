"""A toy latent shows which schedulers raise, or end in values that are not numbers, before a request meets them."""

from __future__ import annotations

from typing import Any

import diffusers
import numpy as np
import pytest

from imagegen.pipelines.scheduler_trial import can_be_tried, completes, few_steps, fits

# The bundled checkpoint's noise schedule.
COSINE = {
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "v_prediction",
    "timestep_spacing": "trailing",
    "steps_offset": 1,
}


def euler_ancestral() -> Any:
    return diffusers.EulerAncestralDiscreteScheduler.from_config(COSINE)


def deis_karras() -> Any:
    return diffusers.DEISMultistepScheduler.from_config(COSINE, use_karras_sigmas=True)


@pytest.mark.parametrize(
    ("scheduler", "steps", "completed"),
    [
        (euler_ancestral(), 2, True),
        (euler_ancestral(), 3, False),  # the square root of a negative number: it gave a black image
        (euler_ancestral(), 4, True),
        (deis_karras(), 5, True),
        (deis_karras(), 10, False),  # IndexError
        (diffusers.UniPCMultistepScheduler.from_config(COSINE, use_karras_sigmas=True), 20, False),  # AssertionError
        (diffusers.EulerDiscreteScheduler.from_config(COSINE, final_sigmas_type="none_such"), 2, False),
        (diffusers.PNDMScheduler(), 3, False),  # its Runge-Kutta steps
        (diffusers.PNDMScheduler(skip_prk_steps=True), 3, True),
        (diffusers.LCMScheduler(), 50, True),
        (diffusers.LCMScheduler(), 51, False),  # distilled for 50
        (diffusers.DDPMScheduler(variance_type="learned_range"), 3, True),
        (diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), 1, True),
        (diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0), 4, True),
    ],
)
def test_what_a_request_would_meet_is_found(scheduler: Any, steps: int, completed: bool) -> None:
    assert completes(scheduler, steps) is completed


def test_the_scheduler_stays_as_it_is() -> None:
    scheduler = euler_ancestral()
    before = dict(scheduler.config), scheduler.timesteps.clone()
    completes(scheduler, 7)
    assert dict(scheduler.config) == before[0]
    assert (scheduler.timesteps == before[1]).all()


def test_it_fits_when_it_completes_with_the_most_steps() -> None:
    assert fits(euler_ancestral(), 50)
    assert not fits(deis_karras(), 50)
    assert fits(deis_karras(), 5)
    assert fits(diffusers.LCMScheduler(), 100), "its own cap is below"


def test_one_that_is_called_in_a_way_of_its_own_cannot_be_tried() -> None:
    assert can_be_tried(deis_karras(), 50)
    assert not can_be_tried(diffusers.SCMScheduler(), 50)


def test_a_quick_proof_takes_two_steps_or_what_the_scheduler_can_do() -> None:
    assert few_steps(euler_ancestral(), 50) == 2
    assert few_steps(euler_ancestral(), 1) == 1
    assert few_steps(None, 50) == 2
    assert few_steps(diffusers.PNDMScheduler(), 50) == 4


def test_two_configurations_that_differ_in_one_of_many_betas_are_two_trials() -> None:
    betas = np.linspace(0.0001, 0.02, 1000)
    broken = betas.copy()
    broken[500] = np.nan
    assert completes(diffusers.DDIMScheduler(trained_betas=betas), 10)
    assert not completes(diffusers.DDIMScheduler(trained_betas=broken), 10)
