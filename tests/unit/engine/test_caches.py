"""The cache changes how often encoders run, never what they give."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import CLIPTextModel

from imagegen.engine.caches import CachedEncoder, CachedVae, CacheStatistics, ContentCache
from imagegen.engine.collate import Call, forward
from imagegen.engine.content_hash import content_key
from imagegen.engine.denoiser_proxy import attach
from tests.unit import tiny_pipelines as tiny

BIG = 10**9


@pytest.fixture(autouse=True)
def _as_on_the_device_thread() -> Iterator[None]:
    with torch.no_grad():
        yield


def run_alone(call: Call) -> Any:
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


class TestContentCache:
    def test_the_least_recently_used_leaves_first(self) -> None:
        cache = ContentCache(30)
        for key in "abc":
            cache.put(key, key.upper(), 10)
        assert cache.get("a") == "A"
        cache.put("d", "D", 10)
        assert [cache.get(key) for key in "abcd"] == ["A", None, "C", "D"]
        assert cache.statistics == CacheStatistics(hits=4, misses=1, evictions=1, bytes=30, entries=3)

    def test_a_value_larger_than_the_cache_is_not_kept_and_pushes_nothing_out(self) -> None:
        cache = ContentCache(30)
        cache.put("a", "A", 30)
        cache.put("b", "B", 31)
        assert cache.get("a") == "A"
        assert cache.get("b") is None

    def test_replacing_a_value_frees_its_bytes(self) -> None:
        cache = ContentCache(30)
        cache.put("a", "A", 20)
        cache.put("a", "B", 25)
        assert cache.get("a") == "B"
        assert cache.statistics.bytes == 25

    def test_clearing_keeps_the_counters(self) -> None:
        cache = ContentCache(30)
        cache.put("a", "A", 20)
        cache.get("a")
        cache.clear()
        assert cache.statistics == CacheStatistics(hits=1, misses=0, evictions=0, bytes=0, entries=0)

    @given(st.integers(0, 50), st.lists(st.tuples(st.integers(0, 6), st.integers(0, 60))))
    def test_bytes_stay_within_the_budget(self, max_bytes: int, puts: list[tuple[int, int]]) -> None:
        cache = ContentCache(max_bytes)
        sizes: dict[int, int] = {}
        for key, size in puts:
            cache.put(key, key, size)
            if size <= max_bytes:
                sizes[key] = size
        held = [key for key in sizes if cache.get(key) is not None]
        assert cache.statistics.bytes == sum(sizes[key] for key in held) <= max_bytes
        assert cache.statistics.entries == len(held)

    def test_many_threads_leave_it_consistent(self) -> None:
        cache = ContentCache(50)

        def work(offset: int) -> None:
            for number in range(2000):
                key = (number * 7 + offset) % 13
                value = cache.get(key)
                assert value in (None, key + 1)
                cache.put(key, key + 1, 10)

        threads = [threading.Thread(target=work, args=(offset,)) for offset in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        statistics = cache.statistics
        assert statistics.hits + statistics.misses == 8000
        assert (statistics.bytes, statistics.entries) == (50, 5)

    def test_a_negative_budget_is_refused(self) -> None:
        with pytest.raises(ValueError, match="max_bytes: -1; 0"):
            ContentCache(-1)


class TestContentKey:
    SAMPLES = (
        *(None, True, 1, 1.0, "1", b"1", (1,), [1], {"a": 1}, {"b": 1}, torch.float32, torch.device("cpu")),
        *(torch.zeros(2, 3), torch.zeros(3, 2), torch.zeros(6), torch.zeros(2, 3, dtype=torch.int32)),
        *(torch.ones(2, 3), torch.tensor(0.0), torch.zeros(0), torch.zeros(2, 3, dtype=torch.complex64)),
        *(torch.zeros(2, 3, dtype=torch.bfloat16), torch.tensor(True)),
    )

    def test_it_tells_values_apart_that_compare_equal(self) -> None:
        assert len({content_key(value) for value in self.SAMPLES}) == len(self.SAMPLES)

    def test_it_goes_by_content(self) -> None:
        base = torch.arange(12.0).reshape(3, 4)
        assert content_key(base.T) == content_key(base.T.contiguous())
        assert content_key(base[1:]) == content_key(base[1:].clone())

    def test_a_tensor_changed_in_place_gets_another(self) -> None:
        tensor = torch.zeros(3)
        before = content_key(tensor)
        tensor[1] = 1
        assert content_key(tensor) != before

    def test_inference_tensors_have_one(self) -> None:
        with torch.inference_mode():
            tensor = torch.zeros(3)
            assert content_key(tensor) == content_key(torch.zeros(3))
            tensor[0] = 1
            assert content_key(tensor) != content_key(torch.zeros(3))

    @pytest.mark.parametrize("value", [object(), torch.Generator(), {1, 2}, [object()]])
    def test_other_things_have_none(self, value: Any) -> None:
        with pytest.raises(TypeError, match="has no content key"):
            content_key(value)


class TestCachedEncoder:
    def test_equal_inputs_are_encoded_once(self) -> None:
        module = Encoder()
        cached = CachedEncoder(module, ContentCache(BIG))
        first, second = cached(torch.ones(2)), cached(torch.ones(2))
        assert module.count == 1
        assert torch.equal(first["states"][0], second["states"][0])
        assert torch.equal(second["states"][1][0], torch.full((2,), 2.0))
        assert cached._cache.statistics == CacheStatistics(hits=1, misses=1, evictions=0, bytes=16, entries=1)

    def test_whatever_callers_do_to_a_result_stays_with_them(self) -> None:
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
    def test_other_inputs_are_encoded(self, args: Any, kwargs: Any) -> None:
        module = Encoder()
        cached = CachedEncoder(module, ContentCache(BIG))
        cached(torch.ones(2))
        cached(*args, **kwargs)
        assert module.count == 2

    def test_encoders_that_share_a_cache_do_not_share_entries(self) -> None:
        cache = ContentCache(BIG)
        modules = Encoder(extra="one"), Encoder(extra="two")
        assert [CachedEncoder(module, cache)(torch.ones(2))["extra"] for module in modules] == ["one", "two"]

    def test_a_dtype_change_is_another_input(self) -> None:
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
    def test_what_cannot_be_remembered_passes_through(self, spoil: Callable[[Any], Any]) -> None:
        module = Encoder()
        spoil(module)
        cached = CachedEncoder(module, ContentCache(BIG))
        for _ in range(2):
            cached(torch.ones(2))
        assert module.count == 2
        assert cached._cache.statistics.bytes == 0

    def test_unknown_arguments_pass_through(self) -> None:
        module = Encoder()
        cached = CachedEncoder(module, ContentCache(BIG))
        for _ in range(2):
            cached(torch.ones(2), flag=object())
        assert module.count == 2

    def test_gradients_pass_through(self) -> None:
        module = Encoder()
        cached = CachedEncoder(module, ContentCache(BIG))
        with torch.enable_grad():
            for _ in range(2):
                cached(torch.ones(2, requires_grad=True))
        assert module.count == 2

    def test_zero_bytes_turn_it_off(self) -> None:
        module = Encoder()
        cached = CachedEncoder(module, ContentCache(0))
        for _ in range(2):
            cached(torch.ones(2))
        assert module.count == 2
        assert cached._cache.statistics == CacheStatistics(0, 0, 0, 0, 0)


@pytest.mark.parametrize("make", [tiny.sd, tiny.sdxl, tiny.sd3, tiny.flux, tiny.sana, tiny.qwen_image, tiny.z_image])
def test_pipelines_draw_the_same_with_cached_text_encoders(make: Callable[[], Any]) -> None:
    """CLIP, CLIP with projection, T5, Gemma, Qwen2.5-VL (whose output carries a key-value cache), Qwen3."""
    pipeline = make()
    plain = draw(pipeline)
    cache = ContentCache(BIG)
    encoders = {name: module for name, module in pipeline.components.items() if name.startswith("text_encoder")}
    calls = [counted(module) for module in encoders.values()]
    for name, module in encoders.items():
        pipeline.__dict__[name] = CachedEncoder(module, cache)
    attached = attach(pipeline, run_alone, 1)
    first = draw(attached)
    made = [len(of_one) for of_one in calls]
    second = draw(attached)
    assert all(made)
    assert [len(of_one) for of_one in calls] == made
    assert np.array_equal(first, plain)
    assert np.array_equal(second, plain)
    assert 0 < cache.statistics.bytes < 200_000


def test_an_image_is_encoded_once_and_sampled_by_each_request() -> None:
    pipeline = tiny.sd_image_to_image()
    image = torch.rand((1, 3, tiny.SIDE_PX, tiny.SIDE_PX), generator=torch.Generator().manual_seed(0))
    seeds = (1, 2, 1)
    plain = [draw(pipeline, seed, image=image) for seed in seeds]
    calls = counted(pipeline.vae, "encode")
    pipeline.__dict__["vae"] = CachedVae(pipeline.vae, ContentCache(BIG))
    pipeline.__dict__["text_encoder"] = CachedEncoder(pipeline.text_encoder, ContentCache(BIG))
    assert isinstance(pipeline.vae, AutoencoderKL)
    assert isinstance(pipeline.text_encoder, CLIPTextModel)
    cached = [draw(attach(pipeline, run_alone, 1), seed, image=image) for seed in seeds]
    assert len(calls) == 1
    assert all(map(np.array_equal, plain, cached))
    assert not np.array_equal(plain[0], plain[1])
    draw(pipeline, 1, image=1 - image)
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


def draw(pipeline: Any, seed: int = 0, **options: Any) -> Any:
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
