"""A scheduler whose numbers stay on the host steps as it would on the device, and nothing waits."""

from __future__ import annotations

import gc
import inspect
import weakref
from collections.abc import Iterator
from typing import Any

import diffusers
import pytest
import torch

from imagegen.engine.host_scheduler import own_scheduler
from tests.accelerator import DEVICE, NAME, TORCH_DEVICE, Kind, PretendTensor, device_on_this_thread
from tests.unit.engine.scheduler_cases import BASE, SCHEDULERS

CPU = torch.device("cpu")
SHAPE = (1, 4, 8, 8)


def loop(scheduler: Any, device: torch.device) -> torch.Tensor:
    """The latents after a whole loop with noise for predictions."""
    generator = torch.Generator().manual_seed(3)
    scheduler.set_timesteps(6, device=device)
    latents = torch.randn(SHAPE, generator=generator).to(device)
    for timestep in scheduler.timesteps:
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(latents, timestep)
        prediction = torch.randn(SHAPE, generator=generator).to(device)
        options = {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}
        DEVICE.counters.reset()
        latents = scheduler.step(prediction, timestep, latents, **options).prev_sample
        assert DEVICE.counters.total(Kind.SYNCHRONISATION) <= (scheduler.config.get("thresholding") or 0) * 2
    return latents


@pytest.fixture(autouse=True)
def _device() -> Iterator[None]:
    with torch.no_grad(), device_on_this_thread():
        yield


@pytest.mark.parametrize("name", SCHEDULERS)
def test_every_scheduler_steps_as_on_the_cpu(name: str) -> None:
    expected = loop(own_scheduler(SCHEDULERS[name], CPU), CPU)
    assert expected.isfinite().all()
    latents = loop(own_scheduler(SCHEDULERS[name], TORCH_DEVICE), TORCH_DEVICE)
    assert isinstance(latents, PretendTensor)
    assert (latents.cpu() - expected).abs().max() <= 1e-4 * expected.abs().max()


@pytest.mark.parametrize(
    ("name", "timesteps"),
    [(name, count) for name in SCHEDULERS for count in (1, 2) if (name, count) != ("flow-heun", 2)],
)
def test_noise_is_mixed_in_as_on_the_cpu(name: str, timesteps: int) -> None:
    generator = torch.Generator().manual_seed(3)
    image, noise = (torch.randn((timesteps, *SHAPE[1:]), generator=generator) for _ in range(2))
    mixed = []
    for device in (CPU, TORCH_DEVICE):
        scheduler = own_scheduler(SCHEDULERS[name], device)
        scheduler.set_timesteps(6, device=device)
        at = scheduler.timesteps[2 : 2 + timesteps]
        mix = scheduler.scale_noise if "flow" in name else scheduler.add_noise
        there = [tensor.to(device) for tensor in (image, noise)]
        DEVICE.counters.reset()
        mixed.append(mix(there[0], at, there[1]) if "flow" in name else mix(there[0], there[1], at))
        assert DEVICE.counters.total(Kind.SYNCHRONISATION) == 0
    assert torch.equal(mixed[0], mixed[1].cpu())


def test_on_the_cpu_numbers_and_timesteps_are_left_alone() -> None:
    own = own_scheduler(BASE, CPU)
    assert own is not BASE
    own.set_timesteps(4, device=NAME)
    assert isinstance(own.timesteps, PretendTensor)


def test_signatures_and_names_stay_and_timesteps_are_on_the_host() -> None:
    own = own_scheduler(BASE, TORCH_DEVICE)
    for name in ("set_timesteps", "step", "add_noise"):
        assert inspect.signature(getattr(own, name)) == inspect.signature(getattr(BASE, name))
    assert isinstance(own, diffusers.DDIMScheduler)
    assert type(own).__name__ == "DDIMScheduler"
    own.set_timesteps(4, NAME)
    assert own.timesteps.device == CPU
    assert BASE.num_inference_steps is None, "the original stays as it is"


def test_a_scheduler_goes_with_its_image() -> None:
    """No cycle keeps its latents until garbage is collected."""
    gc.collect()
    gc.disable()
    try:
        own = own_scheduler(SCHEDULERS["unipc"], TORCH_DEVICE)
        loop(own, TORCH_DEVICE)
        gone = weakref.ref(own)
        del own
        assert gone() is None
    finally:
        gc.enable()


def test_a_class_that_is_not_known_is_left_as_it_is() -> None:
    """Its arithmetic may hold what is not expected, which only a device would show."""
    other = diffusers.DPMSolverSinglestepScheduler()
    own = own_scheduler(other, TORCH_DEVICE)
    assert type(own) is type(other)
    assert own is not other
