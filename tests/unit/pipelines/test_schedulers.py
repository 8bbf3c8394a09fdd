"""Public scheduler names become the right diffusers classes, and only those that fit a checkpoint."""

from __future__ import annotations

import warnings
from typing import Any

import diffusers
import pytest
import torch

from imagegen.api.tensors import SCHEDULERS
from imagegen.pipelines import schedulers


def fitting_schedulers(own: Any, most_steps: int = 100) -> dict[str, Any]:
    return schedulers.fitting_schedulers(own, most_steps)


def ddim() -> Any:
    """Stable Diffusion's own configuration."""
    return diffusers.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False
    )


@pytest.mark.parametrize(
    ("name", "class_name"),
    [
        ("ddim", "DDIMScheduler"),
        ("ddpm", "DDPMScheduler"),
        ("deis", "DEISMultistepScheduler"),
        ("dpmpp_2m", "DPMSolverMultistepScheduler"),
        ("dpmpp_sde", "DPMSolverMultistepScheduler"),
        ("euler", "EulerDiscreteScheduler"),
        ("euler_ancestral", "EulerAncestralDiscreteScheduler"),
        ("heun", "HeunDiscreteScheduler"),
        ("pndm", "PNDMScheduler"),
        ("unipc", "UniPCMultistepScheduler"),
    ],
)
def test_a_ddim_checkpoint_gets_the_class_of_the_name_with_its_own_noise_schedule(name: str, class_name: str) -> None:
    scheduler = fitting_schedulers(ddim())[name]
    assert type(scheduler).__name__ == class_name
    assert torch.allclose(scheduler.betas, ddim().betas)


def test_a_ddim_checkpoint_gets_every_name_but_lcm_which_needs_distilled_weights() -> None:
    assert set(fitting_schedulers(ddim())) == set(SCHEDULERS) - {"lcm"}
    assert set(fitting_schedulers(diffusers.LCMScheduler())) == {"lcm"}


def test_the_two_variants_of_dpm_solver_differ() -> None:
    fitting = fitting_schedulers(ddim())
    assert fitting["dpmpp_2m"].config.algorithm_type == "dpmsolver++"
    assert fitting["dpmpp_sde"].config.algorithm_type == "sde-dpmsolver++"


@pytest.mark.parametrize(
    ("scheduler", "name"),
    [
        (ddim(), "ddim"),
        (diffusers.PNDMScheduler(skip_prk_steps=True), "pndm"),
        (diffusers.LCMScheduler(), "lcm"),
        (diffusers.EulerDiscreteScheduler(), "euler"),
        (diffusers.DPMSolverMultistepScheduler(), "dpmpp_2m"),
        (diffusers.DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++"), "dpmpp_sde"),
        (diffusers.FlowMatchEulerDiscreteScheduler(), "euler"),
    ],
)
def test_the_checkpoints_own_scheduler_is_offered_as_it_is(scheduler: Any, name: str) -> None:
    """The very object: a pipeline may have patched it at load."""
    assert [public for public, each in fitting_schedulers(scheduler).items() if each is scheduler] == [name]


def test_flow_matching_fits_euler_alone() -> None:
    assert list(fitting_schedulers(diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0))) == ["euler"]


def test_beside_a_solver_that_follows_flow_matching_only_those_fit_that_can_too() -> None:
    """Sana's checkpoints are such; DDIM and its kin would generate noise, or fail at the first step."""
    own = diffusers.DPMSolverMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    fitting = fitting_schedulers(own)
    assert set(fitting) == {"deis", "dpmpp_2m", "dpmpp_sde", "unipc"}
    assert all(scheduler.config.use_flow_sigmas for scheduler in fitting.values())


def test_a_noise_schedule_that_a_class_does_not_know_leaves_that_class_out() -> None:
    """Building it raised, and so the checkpoint could not be loaded at all."""
    own = diffusers.DDPMScheduler(beta_schedule="laplace")
    fitting = fitting_schedulers(own)
    assert fitting["ddpm"] is own
    assert "ddim" not in fitting


def test_there_may_be_a_scheduler_beside_which_no_other_fits() -> None:
    assert fitting_schedulers(diffusers.SCMScheduler()) == {}


def test_the_checkpoints_own_scheduler_stays_as_it_is() -> None:
    own = ddim()
    before = dict(own.config)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitting_schedulers(own)
    assert dict(own.config) == before


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({}, set()),
        ({"use_karras_sigmas": True}, {"deis", "unipc"}),
        ({"final_sigmas_type": "denoise_to_zero"}, {"dpmpp_2m", "dpmpp_sde", "euler", "unipc"}),
        ({"prediction_type": "sample"}, {"euler_ancestral", "pndm"}),
        ({"solver_type": "bh1"}, {"unipc"}),
    ],
)
def test_what_a_class_cannot_do_with_the_checkpoints_configuration_is_not_offered(
    changes: dict[str, Any], missing: set[str]
) -> None:
    """Each was offered, and ended in an internal error or in a black image."""
    own = diffusers.DDIMScheduler.from_config(
        {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction", "timestep_spacing": "trailing"}
        | changes
    )
    assert set(SCHEDULERS) - {"lcm"} - set(fitting_schedulers(own)) == missing
