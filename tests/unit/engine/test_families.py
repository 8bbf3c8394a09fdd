"""Unmodified pipelines of many families, six requests at once: same images as alone, far fewer forwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    FirstBlockCacheConfig,
    LCMScheduler,
    PNDMScheduler,
    PyramidAttentionBroadcastConfig,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPipeline,
)

from imagegen.engine.collate import Call, forward
from imagegen.engine.denoiser_proxy import attach
from imagegen.engine.executor import Hub, Limits, PipelineRun
from tests.unit import tiny_pipelines as tiny

Frame = npt.NDArray[np.uint8]
Request = tuple[Any, dict[str, Any]]  # a pipeline and its call's arguments

PROMPTS = [
    "a red cat by the sea",
    "a small blue boat",
    "a large green tree on a house at night",
    "a dog under a red tree",
    "the sea",
    "a house by the sea at night",
]
NEGATIVE = "a blue dog"


@pytest.fixture(autouse=True)
def _as_on_the_device_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        yield
    torch.set_num_threads(threads)


class Together:
    """Runs requests in one hub and counts what they took."""

    def __init__(self, requests: Sequence[Request], row_buckets: Sequence[int] = ()) -> None:
        self.forwards: list[list[Call]] = []
        self._row_buckets = row_buckets
        outcomes: dict[int, Any] = {}
        hub = Hub(self._forward, Limits(max_batch_rows=64))
        for number, request in enumerate(requests):
            hub.submit(PipelineRun(partial(self._draw, hub, request), partial(self._done, outcomes, number)))
        while hub.tick():
            pass
        assert hub.isolation_retries == 0
        for outcome in outcomes.values():
            if isinstance(outcome, BaseException):
                raise outcome
        self.frames: list[Frame] = [outcomes[number] for number in range(len(requests))]

    @property
    def calls(self) -> int:
        return sum(map(len, self.forwards))

    def _forward(self, calls: Sequence[Call]) -> list[Any]:
        self.forwards.append(list(calls))
        return forward(calls, self._row_buckets)

    @staticmethod
    def _draw(hub: Hub, request: Request) -> Frame:
        pipeline, arguments = request
        return draw(attach(pipeline, hub.call, tiny.SIDE_PX**2), arguments)

    @staticmethod
    def _done(outcomes: dict[int, Any], number: int, result: Any, error: BaseException | None) -> None:
        outcomes[number] = result if error is None else error


def draw(pipeline: Any, arguments: dict[str, Any]) -> Frame:
    """One image: a plain pipeline call. `seed` becomes a generator of its own."""
    arguments = dict(arguments)
    generator = torch.Generator().manual_seed(arguments.pop("seed"))
    image = pipeline(**arguments, generator=generator, output_type="np").images[0]
    frame: Frame = (image * 255).round().astype(np.uint8)
    return frame


def assert_same_as_alone(requests: Sequence[Request], frames: Sequence[Frame]) -> None:
    for (pipeline, arguments), frame in zip(requests, frames, strict=True):
        alone = draw(pipeline, arguments)
        assert frame.std() > 5  # an image, not a constant
        assert np.abs(frame.astype(int) - alone.astype(int)).max() <= 1
    assert all((frames[0].shape != other.shape) or (frames[0] != other).any() for other in frames[1:])


def requests_of(
    pipeline: Any, steps: Sequence[int], *, guidance: str = "guidance_scale", off: float = 1.0, **options: Any
) -> list[Request]:
    """A request for each number of steps: own prompt, seed and guidance; the last without guidance."""
    sized = {"height": tiny.SIDE_PX, "width": tiny.SIDE_PX} | options
    requests = []
    for number, count in enumerate(steps):
        last = number == len(steps) - 1
        arguments = {"prompt": PROMPTS[number], "num_inference_steps": count, "seed": 100 + number} | sized
        arguments[guidance] = off if last else 3.0 + number
        requests.append((pipeline, arguments))
    return requests


def image(seed: int) -> torch.Tensor:
    """An input image: float32 [1, 3, SIDE_PX, SIDE_PX] in 0..1."""
    coarse = torch.rand((1, 3, 4, 4), generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (tiny.SIDE_PX, tiny.SIDE_PX), mode="bilinear")


def mask() -> torch.Tensor:
    """The right half is repainted: float32 [1, 1, SIDE_PX, SIDE_PX], 0 or 1."""
    made = torch.zeros((1, 1, tiny.SIDE_PX, tiny.SIDE_PX))
    made[..., tiny.SIDE_PX // 2 :] = 1
    return made


def without(requests: Sequence[Request], *names: str) -> list[Request]:
    return [(pipeline, {k: v for k, v in arguments.items() if k not in names}) for pipeline, arguments in requests]


STEPS = (12, 9, 6, 4, 4, 4)  # 39 calls
STEPS_TWO_CALLS = (12, 9, 8, 4, 4, 4)  # two calls a step with guidance, which the last has not: 78 calls


def sd_with(scheduler_type: Any, steps: Sequence[int] = STEPS, **config: Any) -> list[Request]:
    pipeline = tiny.sd()
    pipeline.scheduler = scheduler_type.from_config(pipeline.scheduler.config, **config)
    return requests_of(pipeline, steps, negative_prompt=NEGATIVE)


def image_to_image() -> list[Request]:
    requests = requests_of(tiny.sd_image_to_image(), (32, 26, 18, 12, 10, 8), strength=0.5)
    for number, (_, arguments) in enumerate(requests):
        arguments["image"] = image(number)
    return without(requests, "height", "width")


def inpainting(channels: int) -> list[Request]:
    requests = requests_of(tiny.sd_inpainting(channels), (8, 6, 4, 3, 3, 2), mask_image=mask(), strength=1.0)
    for number, (_, arguments) in enumerate(requests):
        arguments["image"] = image(number)
    return requests


def three_tasks() -> list[Request]:
    base = tiny.sd()
    image_pipeline = StableDiffusionImg2ImgPipeline.from_pipe(base)
    inpaint_pipeline = StableDiffusionInpaintPipeline.from_pipe(base)
    for pipeline in (image_pipeline, inpaint_pipeline):
        pipeline.set_progress_bar_config(disable=True)
    assert image_pipeline.unet is base.unet
    return (
        requests_of(base, (16, 8))
        + without(requests_of(image_pipeline, (12, 10), strength=0.5, image=image(1)), "height", "width")
        + requests_of(inpaint_pipeline, (4, 3), strength=1.0, image=image(2), mask_image=mask())
    )


def flux_mixed_aspect() -> list[Request]:
    pipeline = tiny.flux()
    wide = requests_of(pipeline, (12, 6, 4), height=16, width=64, max_sequence_length=16)
    tall = requests_of(pipeline, (9, 4, 4), height=64, width=16, max_sequence_length=16)
    return wide + tall


def controlnet() -> list[Request]:
    requests = requests_of(tiny.sd_controlnet(), STEPS)
    for number, (_, arguments) in enumerate(requests):
        arguments["image"] = image(number)
    return requests


CFG: dict[str, Any] = {"negative_prompt": NEGATIVE}
CASES: dict[str, tuple[Callable[[], list[Request]], int, int]] = {  # requests, most forwards, calls
    "sd-ddim": (lambda: sd_with(DDIMScheduler), 12, 39),
    "sd-pndm": (lambda: sd_with(PNDMScheduler, [n - 1 for n in STEPS], skip_prk_steps=True), 12, 39),
    "sd-euler-ancestral": (lambda: sd_with(EulerAncestralDiscreteScheduler), 12, 39),
    "sd-sde-dpm++": (lambda: sd_with(DPMSolverMultistepScheduler, algorithm_type="sde-dpmsolver++"), 12, 39),
    "sd-lcm": (lambda: sd_with(LCMScheduler), 12, 39),
    "sd-image-to-image": (image_to_image, 16, 53),
    "sd-inpainting-4-channels": (lambda: inpainting(4), 8, 26),
    "sd-inpainting-9-channels": (lambda: inpainting(9), 8, 26),
    "sd-three-tasks": (three_tasks, 16, 42),
    "sd-controlnet": (controlnet, 33, 78),
    "sdxl": (lambda: requests_of(tiny.sdxl(), STEPS, **CFG), 12, 39),
    "sd3": (lambda: requests_of(tiny.sd3(), STEPS, **CFG, max_sequence_length=16), 12, 39),
    "flux-guidance": (lambda: requests_of(tiny.flux(), STEPS, max_sequence_length=16), 12, 39),
    "flux-true-cfg": (
        lambda: requests_of(
            tiny.flux(guidance_embeds=False), STEPS_TWO_CALLS, guidance="true_cfg_scale", max_sequence_length=16, **CFG
        ),
        24,
        78,
    ),
    "flux-mixed-aspect": (flux_mixed_aspect, 21, 39),
    "pixart-sigma": (
        lambda: requests_of(
            tiny.pixart_sigma(),
            (14, 11, 9, 7, 6, 4),
            use_resolution_binning=False,
            clean_caption=False,
            max_sequence_length=16,
        ),
        14,
        51,
    ),
    "sana": (
        lambda: requests_of(
            tiny.sana(),
            STEPS,
            use_resolution_binning=False,
            clean_caption=False,
            complex_human_instruction=None,
            max_sequence_length=16,
        ),
        12,
        39,
    ),
    "lumina2": (
        lambda: requests_of(
            tiny.lumina2(), STEPS_TWO_CALLS, height=64, width=64, system_prompt="the", max_sequence_length=16
        ),
        24,
        78,
    ),
    "qwen-image": (
        lambda: requests_of(tiny.qwen_image(), STEPS_TWO_CALLS, guidance="true_cfg_scale", **CFG),
        24,
        78,
    ),
    "z-image": (lambda: requests_of(tiny.z_image(), STEPS, off=0.0, max_sequence_length=16), 12, 39),
}


@pytest.mark.parametrize("name", CASES)
def test_six_requests_share_forwards_and_draw_what_they_draw_alone(name: str) -> None:
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
    alone = [calls for calls in together.forwards if calls[0].recipes is None]
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
def test_with_row_buckets_a_image_does_not_depend_on_its_neighbours(name: str) -> None:
    """Bit by bit, because every forward has 16 rows."""
    requests = CASES[name][0]()
    all_frames = Together(requests, row_buckets=(16,)).frames
    some_frames = Together(requests[1:3], row_buckets=(16,)).frames
    (one_frame,) = Together(requests[1:2], row_buckets=(16,)).frames
    assert np.array_equal(all_frames[1], some_frames[0])
    assert np.array_equal(all_frames[2], some_frames[1])
    assert np.array_equal(all_frames[1], one_frame)
