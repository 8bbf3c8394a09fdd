"""A cache changes how often encoders run, never what they give."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from transformers import CLIPTextModel

from imagegen.engine.cached_encoders import CachedEncoder, CachedVae, Caches, with_caches
from imagegen.engine.collate import DenoiserCall, forward
from imagegen.engine.content_cache import ContentCache
from imagegen.engine.denoiser_proxy import attach
from imagegen.metrics import CacheStatistics
from imagegen.pipelines.checkpoint import describe_pipelines
from imagegen.pipelines.settings import PipelineSettings
from tests.unit import tiny_pipelines as tiny

BIG = 10**9


@pytest.fixture(autouse=True)
def _as_on_the_device_thread() -> Iterator[None]:
    with torch.no_grad():
        yield


def run_alone(call: DenoiserCall) -> Any:
    return forward([call])[0]


class Encoder(nn.Module):
    """Doubles its input; counts how often."""

    dtype = torch.float32
    device = torch.device("cpu")

    def __init__(self, extra: Any = None) -> None:
        super().__init__()
        self.layer = nn.Identity()
        self.extra = extra
        self.count = 0
        self.eval()

    def forward(self, ids: Tensor, flag: Any = None) -> Any:
        self.count += 1
        return {"states": [self.layer(ids) * 2, (ids + 1,)], "extra": self.extra}


def counted(module: nn.Module, name: str = "forward") -> list[None]:
    """Grows by one with every call of the method `name`."""
    calls: list[None] = []
    original = getattr(module, name)

    def method(*args: Any, **kwargs: Any) -> Any:
        calls.append(None)
        return original(*args, **kwargs)

    module.__dict__[name] = method
    return calls


def test_equal_inputs_are_encoded_once() -> None:
    module = Encoder()
    cached = CachedEncoder(module, ContentCache(BIG))
    first, second = cached(torch.ones(2)), cached(torch.ones(2))
    assert module.count == 1
    assert torch.equal(first["states"][0], second["states"][0])
    assert torch.equal(second["states"][1][0], torch.full((2,), 2.0))
    assert cached._cache.statistics == CacheStatistics(hits=1, misses=1, evictions=0, bytes=16, entries=1)


def test_whatever_callers_do_to_a_result_stays_with_them() -> None:
    cached = CachedEncoder(Encoder(), ContentCache(BIG))
    for _ in range(3):
        result = cached(torch.ones(2))
        assert torch.equal(result["states"][0], torch.full((2,), 2.0))
        result["states"][0].zero_()
        result["states"].clear()
        result["more"] = 1


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((torch.zeros(2),), {}),
        ((torch.ones(1, 2),), {}),
        ((torch.ones(2, dtype=torch.int64),), {}),
        ((torch.ones(2), True), {}),
        ((torch.ones(2), 1), {}),
        ((torch.ones(2),), {"flag": 1}),
    ],
)
def test_other_inputs_are_encoded(args: Any, kwargs: Any) -> None:
    module = Encoder()
    cached = CachedEncoder(module, ContentCache(BIG))
    cached(torch.ones(2))
    cached(*args, **kwargs)
    assert module.count == 2


def test_encoders_that_share_a_cache_do_not_share_entries() -> None:
    cache = ContentCache(BIG)
    modules = Encoder(extra="one"), Encoder(extra="two")
    assert [CachedEncoder(module, cache)(torch.ones(2))["extra"] for module in modules] == ["one", "two"]


def test_a_dtype_change_is_another_input() -> None:
    module = Encoder()
    cached = CachedEncoder(module, ContentCache(BIG))
    cached(torch.ones(2))
    module.dtype = torch.bfloat16
    cached(torch.ones(2))
    assert module.count == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda module: module.train(),
        lambda module: module.layer.register_forward_hook(lambda *_: None),
        lambda module: module.__dict__.update(peft_config={"default": 1}),
        lambda module: module.__dict__.update(extra=object()),
    ],
    ids=["training", "hooked", "LoRA", "unknown output"],
)
def test_what_cannot_be_remembered_passes_through(spoil: Callable[[Any], Any]) -> None:
    module = Encoder()
    spoil(module)
    cached = CachedEncoder(module, ContentCache(BIG))
    for _ in range(2):
        cached(torch.ones(2))
    assert module.count == 2
    assert cached._cache.statistics.bytes == 0


def test_unknown_arguments_pass_through() -> None:
    module = Encoder()
    cached = CachedEncoder(module, ContentCache(BIG))
    for _ in range(2):
        cached(torch.ones(2), flag=object())
    assert module.count == 2


def test_gradients_pass_through() -> None:
    module = Encoder()
    cached = CachedEncoder(module, ContentCache(BIG))
    with torch.enable_grad():
        for _ in range(2):
            cached(torch.ones(2, requires_grad=True))
    assert module.count == 2


def test_zero_bytes_turn_it_off() -> None:
    module = Encoder()
    cached = CachedEncoder(module, ContentCache(0))
    for _ in range(2):
        cached(torch.ones(2))
    assert module.count == 2
    assert cached._cache.statistics == CacheStatistics(0, 0, 0, 0, 0)


@pytest.mark.parametrize("make", [tiny.sd, tiny.sdxl, tiny.sd3, tiny.flux, tiny.sana, tiny.qwen_image, tiny.z_image])
def test_pipelines_generate_the_same_with_cached_text_encoders(make: Callable[[], Any]) -> None:
    """CLIP, CLIP with projection, T5, Gemma, Qwen2.5-VL (whose output carries a key-value cache), Qwen3."""
    pipeline = make()
    plain = generate(pipeline)
    cache = ContentCache(BIG)
    encoders = {name: module for name, module in pipeline.components.items() if name.startswith("text_encoder")}
    calls = [counted(module) for module in encoders.values()]
    for name, module in encoders.items():
        pipeline.__dict__[name] = CachedEncoder(module, cache)
    attached = attach(pipeline, run_alone, 1)
    first = generate(attached)
    made = [len(of_one) for of_one in calls]
    second = generate(attached)
    assert all(made)
    assert [len(of_one) for of_one in calls] == made
    assert np.array_equal(first, plain)
    assert np.array_equal(second, plain)
    assert 0 < cache.statistics.bytes < 200_000


def test_an_image_is_encoded_once_and_sampled_by_each_request() -> None:
    pipeline = tiny.sd_image_to_image()
    image = torch.rand((1, 3, tiny.SIDE_PX, tiny.SIDE_PX), generator=torch.Generator().manual_seed(0))
    seeds = (1, 2, 1)
    plain = [generate(pipeline, seed, image=image) for seed in seeds]
    calls = counted(pipeline.vae, "encode")
    pipeline.__dict__["vae"] = CachedVae(pipeline.vae, ContentCache(BIG))
    pipeline.__dict__["text_encoder"] = CachedEncoder(pipeline.text_encoder, ContentCache(BIG))
    assert isinstance(pipeline.vae, AutoencoderKL)
    assert isinstance(pipeline.text_encoder, CLIPTextModel)
    cached = [generate(attach(pipeline, run_alone, 1), seed, image=image) for seed in seeds]
    assert len(calls) == 1
    assert all(map(np.array_equal, plain, cached))
    assert not np.array_equal(plain[0], plain[1])
    generate(pipeline, 1, image=1 - image)
    assert len(calls) == 2


def test_a_posterior_is_remembered_for_the_way_it_was_computed() -> None:
    vae = tiny.sd().vae
    cached = CachedVae(vae, ContentCache(BIG))
    calls = counted(vae, "encode")
    image = torch.rand(1, 3, tiny.SIDE_PX, tiny.SIDE_PX)
    posterior = cached.encode(image).latent_dist
    mean = posterior.mean.clone()
    posterior.mean.zero_()
    assert torch.equal(cached.encode(image).latent_dist.mean, mean)
    assert len(calls) == 1
    vae.enable_slicing()
    cached.encode(image)
    assert len(calls) == 2
    assert torch.equal(cached.encode(image, return_dict=False)[0].mean, mean)
    assert len(calls) == 3


def generate(pipeline: Any, seed: int = 0, **options: Any) -> Any:
    """One image, two steps."""
    accepted = inspect.signature(pipeline.__call__).parameters
    asked = {
        "prompt": "a red cat by the sea",
        "negative_prompt": "a dog",
        "true_cfg_scale": 3.0,
        "num_inference_steps": 2,
        "height": tiny.SIDE_PX,
        "width": tiny.SIDE_PX,
        "max_sequence_length": 16,
        "clean_caption": False,
        "use_resolution_binning": False,
        "complex_human_instruction": None,
    }
    arguments = {name: value for name, value in asked.items() if name in accepted} | options
    return pipeline(**arguments, generator=torch.Generator().manual_seed(seed), output_type="np").images[0]


def test_an_engine_puts_caches_before_the_encoders_of_every_task_and_leaves_the_pipelines_as_they_are() -> None:
    pipelines = describe_pipelines(tiny.sd(), PipelineSettings(model="tiny"), torch.device("cpu"))
    caches = Caches(ContentCache(BIG), ContentCache(BIG))
    cached = with_caches(pipelines, caches)
    assert cached.tasks.keys() == pipelines.tasks.keys()
    for name, task in cached.tasks.items():
        original = pipelines.tasks[name].pipeline
        assert type(original.vae) is AutoencoderKL
        assert type(task.pipeline.vae) is CachedVae
        assert type(task.pipeline.text_encoder) is CachedEncoder
        assert task.pipeline.unet is original.unet
        assert dict(task.pipeline.config) == dict(original.config)
    assert caches.by_name() == {"prompt": caches.prompt, "image": caches.image}
