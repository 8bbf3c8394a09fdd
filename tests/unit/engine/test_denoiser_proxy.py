"""A proxy looks like its module to a pipeline, and an attached pipeline leaves the original alone."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from diffusers import MultiControlNetModel, UNet2DConditionModel
from torch import Tensor, nn

from imagegen.engine.collate import DenoiserCall, forward
from imagegen.engine.denoiser_proxy import DenoiserProxy, attach
from imagegen.engine.family_rules import SAME_AT_EVERY_STEP
from imagegen.engine.module_proxy import unwrapped
from imagegen.engine.pipeline_run import PipelineRun
from imagegen.engine.scheduler import Limits
from tests.unit import tiny_pipelines as tiny
from tests.unit.engine.executor_toys import executor_of


class Toy(nn.Module):
    """A module with an attribute, a buffer and a submodule."""

    def __init__(self) -> None:
        super().__init__()
        self.config = {"in_channels": 4}
        self.add_embedding = nn.Linear(1, 1)

    def forward(self, sample: Tensor, timestep: Tensor) -> Tensor:
        return sample * timestep.reshape(-1, 1)


def run_at_once(call: DenoiserCall) -> Any:
    return forward([call])[0]


def test_it_looks_like_the_module() -> None:
    module = Toy()
    proxy = DenoiserProxy(module, run_at_once, 64)
    assert isinstance(proxy, Toy)
    assert isinstance(proxy, nn.Module)
    assert proxy.config is module.config
    assert proxy.add_embedding is module.add_embedding
    assert not hasattr(proxy, "no_such_attribute")
    with pytest.raises(AttributeError, match="'Toy' object has no attribute 'no_such_attribute'"):
        _ = proxy.no_such_attribute
    proxy.training = False
    assert module.training is False


def test_what_it_sets_reaches_the_module_and_its_own_state_does_not() -> None:
    module = Toy()
    proxy = DenoiserProxy(module, run_at_once, 64)
    proxy.added = 1
    assert module.added == 1
    assert "_run_call" not in module.__dict__


def test_every_call_goes_to_the_executor() -> None:
    module = Toy()
    calls: list[DenoiserCall] = []

    def run_call(call: DenoiserCall) -> Any:
        calls.append(call)
        return run_at_once(call)

    proxy = DenoiserProxy(module, run_call, 64)
    sample, timestep = torch.ones(2, 3), torch.tensor([3.0, 4.0])
    assert torch.equal(proxy(sample, timestep=timestep), module(sample, timestep))
    assert torch.equal(proxy.forward(sample, timestep), module(sample, timestep))
    assert [(call.module is module, call.rows, call.pixels) for call in calls] == [(True, 2, 128)] * 2


def test_a_call_knows_how_many_rows_it_shared_its_forward_with() -> None:
    module = Toy()
    executor = executor_of(forward, Limits())
    shared: list[list[int]] = [[], []]

    def image(number: int, rows: int, steps: int) -> None:
        def run_call(call: DenoiserCall) -> Any:
            output = executor.call(call)
            shared[number].append(call.forward_rows)
            return output

        proxy = DenoiserProxy(module, run_call, 1)
        for _ in range(steps):
            proxy(torch.ones(rows, 3), torch.ones(rows))

    for number, rows, steps in ((0, 1, 4), (1, 2, 2)):
        executor.submit(PipelineRun(partial(image, number, rows, steps), lambda result, error: None))
    while executor.tick():
        pass
    assert shared == [[3, 3, 1, 1], [3, 3]]


def test_cache_contexts_are_harmless_for_modules_without_cache() -> None:
    proxy = DenoiserProxy(Toy(), run_at_once, 64)
    with proxy.cache_context("cond", step_index=1):
        proxy(torch.ones(1, 3), torch.ones(1))
    proxy._reset_stateful_cache()


def test_attaching_leaves_the_pipeline_as_it_is() -> None:
    pipeline = tiny.sd_controlnet()
    before = dict(pipeline.__dict__)
    configuration = copy.deepcopy(dict(pipeline.config))
    attached = attach(pipeline, run_at_once, 64)
    assert type(attached) is type(pipeline)
    assert pipeline.__dict__ == before
    assert dict(pipeline.config) == configuration
    assert attached.vae is pipeline.vae
    assert attached.text_encoder is pipeline.text_encoder
    assert isinstance(attached.unet, UNet2DConditionModel)
    assert attached.unet.config is pipeline.unet.config
    proxies = [value for value in attached.__dict__.values() if type(value) is DenoiserProxy]
    assert [unwrapped(proxy) for proxy in proxies] == [pipeline.unet, pipeline.controlnet]


def test_each_image_has_its_own_scheduler_with_what_was_patched_into_it() -> None:
    pipeline = tiny.sd()
    pipeline.scheduler.patched_at_load = [1]
    first, second = (attach(pipeline, run_at_once, 64) for _ in range(2))
    first.scheduler.set_timesteps(3)
    second.scheduler.set_timesteps(5)
    assert len(first.scheduler.timesteps) == 3
    assert pipeline.scheduler.num_inference_steps is None
    assert first.scheduler.patched_at_load == [1]
    assert first.scheduler.patched_at_load is not pipeline.scheduler.patched_at_load


def test_attaching_twice_does_not_nest_proxies() -> None:
    pipeline = tiny.sd()
    twice = attach(attach(pipeline, run_at_once, 64), run_at_once, 64)
    assert twice.unet._module is pipeline.unet


def test_several_controlnets_are_one_denoiser() -> None:
    pipeline = tiny.sd_controlnet()
    pipeline.__dict__["controlnet"] = MultiControlNetModel([pipeline.controlnet, pipeline.controlnet])
    attached = attach(pipeline, run_at_once, 64)
    assert isinstance(attached.controlnet, MultiControlNetModel)
    image = torch.rand(1, 3, tiny.SIDE_PX, tiny.SIDE_PX)
    arguments: dict[str, Any] = {
        "prompt": "a red cat",
        "image": [image, image],
        "num_inference_steps": 2,
        "controlnet_conditioning_scale": [0.5, 0.25],
        "output_type": "np",
    }
    images = [p(**arguments, generator=torch.Generator().manual_seed(0)).images for p in (pipeline, attached)]
    assert (images[0] == images[1]).all()


def test_pipelines_that_hook_into_their_denoiser_are_refused() -> None:
    class StableDiffusionSAGPipeline:
        pass

    with pytest.raises(ValueError, match="StableDiffusionSAGPipeline changes its denoiser while it runs"):
        attach(StableDiffusionSAGPipeline(), run_at_once, 64)


def test_what_is_the_same_at_every_step_is_one_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else its content is read back from the device at each."""
    monkeypatch.setitem(SAME_AT_EVERY_STEP, "Toy", ("timestep",))
    seen: list[Any] = []
    proxy = DenoiserProxy(Toy(), lambda call: seen.append(call.given["timestep"]), 64)
    for shape in ((2,), (2,), (1,)):
        proxy(torch.ones(2, 4), timestep=torch.ones(shape))
    assert seen[0] is seen[1]
    assert seen[2].shape == (1,)
