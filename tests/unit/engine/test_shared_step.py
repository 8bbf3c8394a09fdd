"""Steps that are done as one give each image the bits that it has alone; what differs is not done as one."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import diffusers
import greenlet
import pytest
import torch

from imagegen.engine.host_scheduler import own_scheduler
from imagegen.engine.host_tensor import HostTensor
from imagegen.engine.shared_step import StepCall
from tests.accelerator import DEVICE, TORCH_DEVICE, Kind, device_on_this_thread
from tests.unit.engine.scheduler_cases import BASE, SCHEDULERS

CPU = torch.device("cpu")
SHAPE = (1, 4, 8, 8)
SEEDS = (3, 4, 2**40)


@pytest.fixture(autouse=True)
def _no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


class Image:
    """One image's loop, of noise instead of a model, a step at a time."""

    def __init__(self, scheduler: Any, seed: int, device: torch.device, steps: int = 6) -> None:
        self.scheduler = own_scheduler(scheduler, device)
        self.generator = torch.Generator().manual_seed(seed)
        self.scheduler.set_timesteps(steps, device=device)
        self.latents = self._noise().to(device)
        self.predictions = [self._noise().to(device) for _ in self.scheduler.timesteps]
        self.index = 0

    def _noise(self) -> torch.Tensor:
        return torch.randn(SHAPE, generator=self.generator)

    def call(self, **options: Any) -> StepCall:
        """The next step, as the executor's run would be asked to share it."""
        scheduler, timestep = self.scheduler, self.scheduler.timesteps[self.index]
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(self.latents, timestep)
        if "generator" in inspect.signature(scheduler.step).parameters:
            options = {"generator": self.generator} | options
        shared: list[StepCall] = []
        run: Any = greenlet.greenlet(
            lambda: scheduler.step(self.predictions[self.index], timestep, self.latents, **options)
        )
        run.share = shared.append
        run.switch()
        (call,) = shared
        return call

    def take(self, result: Any) -> None:
        self.latents = result.prev_sample
        self.index += 1


def images(scheduler: Any, device: torch.device = CPU, seeds: Sequence[int] = SEEDS) -> list[Image]:
    return [Image(scheduler, seed, device) for seed in seeds]


@pytest.mark.parametrize("device", [CPU, TORCH_DEVICE], ids=str)
@pytest.mark.parametrize("name", SCHEDULERS)
def test_each_image_has_the_bits_that_it_has_alone(name: str, device: torch.device) -> None:
    with nullcontext() if device == CPU else device_on_this_thread():
        alone, together = images(SCHEDULERS[name], device), images(SCHEDULERS[name], device)
        launches = {"alone": 0, "together": 0}
        for step in range(len(alone[0].scheduler.timesteps)):
            DEVICE.counters.reset()
            for image in alone:
                image.take(image.call().alone())
            launches["alone"] += DEVICE.counters.total(Kind.LAUNCH)
            calls = [image.call() for image in together]
            assert len({call.key for call in calls}) == 1, f"not done as one in step {step}"
            DEVICE.counters.reset()
            for image, result in zip(together, calls[0].together(calls), strict=True):
                image.take(result)
            launches["together"] += DEVICE.counters.total(Kind.LAUNCH)
            for one, other in zip(alone, together, strict=True):
                assert torch.equal(one.latents.cpu(), other.latents.cpu()), f"step {step}"
        assert alone[0].latents.isfinite().all()
        if device != CPU:
            assert launches["together"] < launches["alone"]


@pytest.mark.parametrize("name", SCHEDULERS)
def test_an_image_can_go_on_alone_and_together_again(name: str) -> None:
    alone, mixed = images(SCHEDULERS[name], seeds=(3, 4)), images(SCHEDULERS[name], seeds=(3, 4))
    for step in range(len(alone[0].scheduler.timesteps)):
        for image in alone:
            image.take(image.call().alone())
        calls = [image.call() for image in mixed]
        results = calls[0].together(calls) if step % 2 else [call.alone() for call in calls]
        for image, result in zip(mixed, results, strict=True):
            image.take(result)
    for one, other in zip(alone, mixed, strict=True):
        assert torch.equal(one.latents, other.latents)


@pytest.mark.parametrize("name", ["ddim", "pndm"])
def test_what_a_step_computes_from_its_timestep_takes_no_detour(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A timestep that knows where it is to go handed that on to all numbers of a step beside a device."""
    with device_on_this_thread():
        image = Image(SCHEDULERS[name], 3, TORCH_DEVICE)
        for _ in range(4):
            call = image.call()
            with monkeypatch.context() as patch:
                patch.setattr(HostTensor, "__torch_function__", pytest.fail)
                image.take(call.alone())


def _other_steps() -> Image:
    return Image(BASE, 4, CPU, steps=7)


def _other_configuration() -> Image:
    return Image(diffusers.DDIMScheduler.from_config(BASE.config, prediction_type="v_prediction"), 4, CPU)


def _other_class() -> Image:
    return Image(SCHEDULERS["pndm"], 4, CPU)


def _further_on() -> Image:
    image = Image(BASE, 4, CPU)
    image.take(image.call().alone())
    return image


def _other_sigmas() -> Image:
    image = Image(BASE, 4, CPU)
    image.scheduler.alphas_cumprod = image.scheduler.alphas_cumprod * 0.5
    return image


def _other_size() -> Image:
    image = Image(BASE, 4, CPU)
    image.latents, image.predictions = image.latents[..., :4], [part[..., :4] for part in image.predictions]
    return image


def _other_type() -> Image:
    image = Image(BASE, 4, CPU)
    image.latents = image.latents.bfloat16()
    return image


@pytest.mark.parametrize(
    "other",
    [_other_steps, _other_configuration, _other_class, _further_on, _other_sigmas, _other_size, _other_type],
)
def test_what_differs_is_not_done_as_one(other: Any) -> None:
    assert Image(BASE, 3, CPU).call().key == Image(BASE, 4, CPU).call().key
    assert Image(BASE, 3, CPU).call().key != other().call().key


def test_the_outline_tells_steps_and_schedules_apart() -> None:
    outline = Image(BASE, 3, CPU).call().outline
    assert Image(BASE, 4, CPU).call().outline == outline
    assert outline not in (_further_on().call().outline, _other_steps().call().outline)


@pytest.mark.parametrize("options", [{"eta": 1.0}, {"use_clipped_model_output": True}, {"generator": None}], ids=str)
def test_other_options_are_not_done_as_one(options: dict[str, Any]) -> None:
    assert Image(BASE, 3, CPU).call(**options).key == Image(BASE, 4, CPU).call(**options).key
    assert Image(BASE, 3, CPU).call().key != Image(BASE, 4, CPU).call(**options).key


def test_what_nobody_knows_how_to_share_stays_alone() -> None:
    """Several rows have noise of one generator; an object may be anything."""
    given: list[dict[str, Any]] = [{"generator": [torch.Generator()]}, {"variance_noise": object()}]
    for options in given:
        assert Image(BASE, 3, CPU).call(**options).key != Image(BASE, 3, CPU).call(**options).key
    rows = images(BASE)
    for image in rows:
        image.latents = image.latents.repeat(2, 1, 1, 1)
    assert len({image.call().key for image in rows}) == len(rows)


def test_a_scheduler_whose_arithmetic_is_not_known_is_not_asked_to_share() -> None:
    scheduler = own_scheduler(diffusers.DPMSolverSinglestepScheduler(), CPU)
    scheduler.set_timesteps(4)
    run: Any = greenlet.greenlet(lambda: scheduler.step(torch.ones(SHAPE), scheduler.timesteps[0], torch.ones(SHAPE)))
    run.share = pytest.fail
    run.switch()
    assert run.dead


def test_where_it_raises_schedulers_and_seeds_are_as_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is done alone then; noise that was drawn for the common step would be another image's, or lost."""
    alone, together = images(SCHEDULERS["ddpm"]), images(SCHEDULERS["ddpm"])
    calls = [image.call() for image in together]
    with monkeypatch.context() as patch:
        patch.setattr(diffusers.DDPMScheduler, "_get_variance", _out_of_memory)
        with pytest.raises(torch.OutOfMemoryError):
            calls[0].together(calls)
    for one, other, call in zip(alone, together, calls, strict=True):
        assert torch.equal(one.call().alone().prev_sample, call.alone().prev_sample)
        assert torch.equal(one.generator.get_state(), other.generator.get_state())


def _out_of_memory(*_: Any, **__: Any) -> Any:
    raise torch.OutOfMemoryError("planted, after the noise was drawn")
