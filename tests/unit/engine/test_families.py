"""Unmodified pipelines of many families, six requests at once: same images as alone, far fewer forwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    EulerAncestralDiscreteScheduler,
    FirstBlockCacheConfig,
    LCMScheduler,
    PyramidAttentionBroadcastConfig,
    StableDiffusionPipeline,
)

from imagegen.engine.collate import DenoiserCall, forward
from imagegen.engine.denoiser_proxy import attach
from imagegen.engine.executor import Executor
from imagegen.engine.pipeline_run import PipelineRun
from imagegen.engine.scheduler import Limits
from tests.unit import tiny_pipelines as tiny
from tests.unit.engine.executor_toys import executor_of
from tests.unit.engine.family_cases import CASES, STEPS, Request, requests_of

Frame = npt.NDArray[np.uint8]


@pytest.fixture(autouse=True)
def _as_on_the_device_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(threads)


class Together:
    """Runs requests in one executor and keeps the forwards that they took."""

    def __init__(self, requests: Sequence[Request], row_buckets: Sequence[int] = ()) -> None:
        self.forwards: list[list[DenoiserCall]] = []
        self._row_buckets = row_buckets
        outcomes: dict[int, Any] = {}
        executor = executor_of(self._forward, Limits(max_batch_rows=64))
        for number, request in enumerate(requests):
            executor.submit(
                PipelineRun(partial(self._generate, executor, request), partial(self._done, outcomes, number))
            )
        while executor.tick():
            pass
        assert executor.isolation_retries == 0
        for outcome in outcomes.values():
            if isinstance(outcome, BaseException):
                raise outcome
        self.frames: list[Frame] = [outcomes[number] for number in range(len(requests))]

    @property
    def calls(self) -> int:
        return sum(map(len, self.forwards))

    def _forward(self, calls: Sequence[DenoiserCall]) -> list[Any]:
        self.forwards.append(list(calls))
        return forward(calls, self._row_buckets)

    @staticmethod
    def _generate(executor: Executor, request: Request) -> Frame:
        pipeline, arguments = request
        return generate(attach(pipeline, executor.call, tiny.SIDE_PX**2), arguments)

    @staticmethod
    def _done(outcomes: dict[int, Any], number: int, result: Any, error: BaseException | None) -> None:
        outcomes[number] = result if error is None else error


def generate(pipeline: Any, arguments: dict[str, Any]) -> Frame:
    """One image: a plain pipeline call. `seed` becomes a generator of its own."""
    arguments = dict(arguments)
    generator = torch.Generator().manual_seed(arguments.pop("seed"))
    image = pipeline(**arguments, generator=generator, output_type="np").images[0]
    frame: Frame = (image * 255).round().astype(np.uint8)
    return frame


def assert_same_as_alone(requests: Sequence[Request], frames: Sequence[Frame]) -> None:
    for (pipeline, arguments), frame in zip(requests, frames, strict=True):
        alone = generate(pipeline, arguments)
        assert frame.std() > 5  # an image, not a constant
        assert np.abs(frame.astype(int) - alone.astype(int)).max() <= 1
    assert all((frames[0].shape != other.shape) or (frames[0] != other).any() for other in frames[1:])


@pytest.mark.parametrize("name", CASES)
def test_six_requests_share_forwards_and_give_the_images_that_they_give_alone(name: str) -> None:
    make, most_forwards, calls = CASES[name]
    requests = make()
    together = Together(requests)
    assert_same_as_alone(requests, together.frames)
    assert together.calls == calls
    assert len(together.forwards) <= 1.1 * most_forwards


def test_requests_with_different_schedulers_share_forwards() -> None:
    requests = []
    base = tiny.sd()
    for number, scheduler_type in enumerate((DDIMScheduler, EulerAncestralDiscreteScheduler, LCMScheduler)):
        parts = base.components | {"scheduler": scheduler_type.from_config(base.scheduler.config)}
        pipeline = StableDiffusionPipeline(**parts, requires_safety_checker=False)
        pipeline.set_progress_bar_config(disable=True)
        requests.append(requests_of(pipeline, [6] * 3)[number])
    together = Together(requests)
    assert_same_as_alone(requests, together.frames)
    assert len(together.forwards) == 6


def test_attention_processors_of_one_request_stay_out_of_the_others() -> None:
    guided = tiny.sd_pag()
    plain = StableDiffusionPipeline(**guided.components, requires_safety_checker=False)
    plain.set_progress_bar_config(disable=True)
    processors = dict(guided.unet.attn_processors)
    requests = requests_of(guided, (6, 4, 3), pag_scale=3.0) + requests_of(plain, (6, 5, 3))
    together = Together(requests)
    assert guided.unet.attn_processors == processors
    assert_same_as_alone(requests, together.frames)
    alone = [calls for calls in together.forwards if calls[0].rules is None]
    assert [len(calls) for calls in alone] == [1] * (6 + 4 + 3)
    assert len(together.forwards) == len(alone) + 6  # 6 + 5 + 3 plain calls


def test_a_failed_request_with_own_attention_processors_leaves_none_behind() -> None:
    pipeline = tiny.sd_pag()
    processors = dict(pipeline.unet.attn_processors)
    request = requests_of(pipeline, (6, 6), pag_scale=3.0)[0]

    def fail(*_: Any) -> dict[str, Any]:
        raise RuntimeError("from a callback")

    with pytest.raises(RuntimeError, match="from a callback"):
        Together([(pipeline, request[1] | {"callback_on_step_end": fail})])
    assert pipeline.unet.attn_processors == processors


def test_caches_between_steps_keep_each_request_to_itself() -> None:
    pipeline = tiny.flux()
    requests = requests_of(pipeline, STEPS, max_sequence_length=16)
    uncached = Together(requests).frames
    pipeline.transformer.enable_cache(FirstBlockCacheConfig(threshold=0.5))
    together = Together(requests)
    assert_same_as_alone(requests, together.frames)
    assert any((a != b).any() for a, b in zip(uncached, together.frames, strict=True))  # the cache did something
    assert len(together.forwards) == together.calls == 39
    managers = [
        hook.state_manager if hasattr(hook, "state_manager") else hook.shared_state_manager
        for registry in pipeline.transformer._diffusers_hook._get_child_registries()
        for hook in registry.hooks.values()
    ]
    assert managers
    assert not any(manager._state_cache for manager in managers)  # nothing is kept of requests that ended


def test_a_cache_with_one_state_for_all_is_refused() -> None:
    pipeline = tiny.flux()
    pipeline.transformer.enable_cache(
        PyramidAttentionBroadcastConfig(spatial_attention_block_skip_range=2, current_timestep_callback=lambda: 500)
    )
    with pytest.raises(ValueError, match="PyramidAttentionBroadcastConfig keeps one state for all requests"):
        attach(pipeline, lambda call: None, 1)


@pytest.mark.parametrize("name", ["sd-euler-ancestral", "sdxl", "sd3", "flux-guidance", "qwen-image", "z-image"])
def test_with_row_buckets_an_image_does_not_depend_on_its_neighbours(name: str) -> None:
    """Bit by bit, because every forward has 16 rows."""
    requests = CASES[name][0]()
    all_frames = Together(requests, row_buckets=(16,)).frames
    some_frames = Together(requests[1:3], row_buckets=(16,)).frames
    (one_frame,) = Together(requests[1:2], row_buckets=(16,)).frames
    assert np.array_equal(all_frames[1], some_frames[0])
    assert np.array_equal(all_frames[2], some_frames[1])
    assert np.array_equal(all_frames[1], one_frame)
