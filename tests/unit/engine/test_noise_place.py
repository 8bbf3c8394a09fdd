"""A step's place is that of the scheduler's own arithmetic, and what is forecast there follows from the output."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)

from imagegen.engine.noise_place import first_index, place_of

STEPS = 10
CLEAN, NOISE = torch.tensor([0.5, -1.0, 2.0]), torch.tensor([1.5, 0.25, -0.75])
DETERMINISTIC: list[Any] = [
    DDIMScheduler,
    PNDMScheduler,
    EulerDiscreteScheduler,
    DPMSolverMultistepScheduler,
    DEISMultistepScheduler,
    UniPCMultistepScheduler,
]
STOCHASTIC: list[Any] = [
    DDPMScheduler,
    EulerAncestralDiscreteScheduler,
    lambda **config: DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++", **config),
]


def ready(kind: Any, **config: Any) -> Any:
    scheduler = kind(**config)
    scheduler.set_timesteps(STEPS)
    return scheduler


def noised(scheduler: Any, index: int) -> torch.Tensor:
    """What the model is given at a step, by the scheduler's own methods."""
    timestep = scheduler.timesteps[index : index + 1]
    sample = scheduler.add_noise(CLEAN[None], NOISE[None], timestep)[0]
    if hasattr(scheduler, "scale_model_input"):
        sample = scheduler.scale_model_input(sample, timestep[0])
    return torch.as_tensor(sample)


@pytest.mark.parametrize("kind", [*DETERMINISTIC, *STOCHASTIC])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("index", [1, 5, 8])
def test_the_weights_make_the_noise_or_the_clean_image_of_what_a_model_predicts(
    kind: Any, prediction: str, index: int
) -> None:
    scheduler = ready(kind, prediction_type=prediction)
    place, sample = place_of(scheduler, index), noised(scheduler, index)
    alpha, sigma = math.sqrt(torch.tensor(place.log_snr).sigmoid()), math.sqrt(torch.tensor(-place.log_snr).sigmoid())
    assert torch.allclose(sample, alpha * CLEAN + sigma * NOISE, atol=1e-4)
    output = {"epsilon": NOISE, "v_prediction": alpha * NOISE - sigma * CLEAN, "sample": CLEAN}[prediction]
    expected = CLEAN if kind in STOCHASTIC else NOISE
    assert torch.allclose(place.of_sample * sample + place.of_output * output, expected, atol=1e-3)


@pytest.mark.parametrize("stochastic", [False, True])
def test_flow_matching_predicts_the_noise_without_the_clean_image(stochastic: bool) -> None:
    scheduler = ready(FlowMatchEulerDiscreteScheduler, shift=3.0, stochastic_sampling=stochastic)
    place = place_of(scheduler, 4)
    noise = float(scheduler.sigmas[4])
    assert place.log_snr == pytest.approx(2 * math.log((1 - noise) / noise))
    sample = (1 - noise) * CLEAN + noise * NOISE
    expected = CLEAN if stochastic else NOISE
    assert torch.allclose(place.of_sample * sample + place.of_output * (NOISE - CLEAN), expected, atol=1e-5)


def test_other_schedulers_follow_flow_matching_where_they_are_set_to() -> None:
    scheduler = ready(
        DPMSolverMultistepScheduler, prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )
    noise = float(scheduler.sigmas[4])
    assert place_of(scheduler, 4).log_snr == pytest.approx(2 * math.log((1 - noise) / noise))
    assert place_of(scheduler, 4).of_sample == 1.0


def test_the_ends_of_a_schedule_have_finite_places() -> None:
    for scheduler in (
        ready(FlowMatchEulerDiscreteScheduler),
        ready(DDIMScheduler, rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="v_prediction"),
    ):
        places = [place_of(scheduler, index) for index in range(STEPS)]
        assert all(math.isfinite(place.log_snr) and place.of_output for place in places)
        assert [place.log_snr for place in places] == sorted(place.log_snr for place in places)


def test_a_prediction_of_an_unknown_kind_is_taken_as_it_is() -> None:
    place = place_of(ready(EulerDiscreteScheduler, prediction_type="original_sample"), 4)
    assert (place.of_sample, place.of_output) == (0.0, 1.0)


def test_a_loop_may_begin_in_the_middle() -> None:
    scheduler = ready(DDIMScheduler)
    assert first_index(scheduler, scheduler.timesteps[4]) == 4
    assert first_index(scheduler, scheduler.timesteps[4:5]) == 4
    assert first_index(scheduler, 12345) == 0
