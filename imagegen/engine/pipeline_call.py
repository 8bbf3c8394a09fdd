"""Generates one image of a plan: one unmodified pipeline call, pixels in and out as uint8."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import torch

from imagegen.api.tensors import Pixels
from imagegen.engine.adapters.adapter_table import Updates
from imagegen.engine.collate import DenoiserCall
from imagegen.engine.denoiser_proxy import RunCall, attach
from imagegen.engine.device_clock import mark, seconds_between
from imagegen.engine.finite_check import FiniteCheck
from imagegen.engine.image_arguments import (
    control_arguments,
    reference_argument,
    start_image,
    with_control_networks,
)
from imagegen.engine.prompt_truncation import PromptTruncation
from imagegen.engine.seeded_generator import seeded_generator
from imagegen.engine.seeded_vae import SeededVae
from imagegen.engine.step_forecast import StepForecast
from imagegen.engine.transfer import receive
from imagegen.pipelines.checkpoint import Pipelines, TaskPipeline
from imagegen.pipelines.controls import ControlType
from imagegen.pipelines.plan import Plan
from imagegen.pipelines.steps import Step, followed

_REPAINTS_NOTHING = "mask: it repaints nothing; the image is returned as it came"


@dataclass(frozen=True)
class GeneratedImage:
    """One finished image, and the time and forwards that it took.

    Attributes:
        frame: uint8 [H, W, 3].
        started_s: when it was begun, on the clock of `time.monotonic`.
        encode_s: seconds from the start to the first denoiser call: text encoding, and the VAE for images.
        denoise_s: seconds from the first denoiser call to the end of the last.
        decode_s: seconds from there to the frame.
        forwards: denoiser calls made.
        call_s: seconds of a denoiser call on the average, without the first, which may compile; None of one alone.
        rows: of those calls, added up.
        batch_rows: rows of the forwards those calls were part of, added up.
        computed_steps: steps whose denoiser calls were made, none left out.
        forecast_steps: steps that took a forecast instead.
        warnings: what the client should know though it is no error.
        non_finite_stages: where values were found that are no finite numbers, though the image is handed over.
    """

    frame: Pixels
    started_s: float
    encode_s: float
    denoise_s: float
    decode_s: float
    forwards: int
    call_s: float | None
    rows: int
    batch_rows: int
    computed_steps: int = 0
    forecast_steps: int = 0
    warnings: tuple[str, ...] = ()
    non_finite_stages: tuple[str, ...] = ()


def generate_image(
    plan: Plan,
    index: int,
    pipelines: Pipelines,
    run_call: RunCall,
    on_step: Callable[[Step], None] | None = None,
    *,
    tolerate_non_finite: bool = False,
    updates: Mapping[str, Updates] = MappingProxyType({}),
) -> GeneratedImage:
    """Generate image `index` of `plan`.

    Args:
        plan: the request.
        index: which of its images, 0..len(seeds)-1.
        pipelines: the loaded checkpoint.
        run_call: runs one denoiser call, `Executor.call`.
        on_step: called after each step of the denoising loop.
        tolerate_non_finite: whether an image of values that are not finite numbers is handed over with a warning.
        updates: what the request's adapters add, by component.

    Returns:
        The image. Outside an inpainting mask its pixels are the input's own.

    Raises:
        NonFinite: the model computed values that are not finite numbers. Whatever the pipeline raises.
    """
    check = FiniteCheck(tolerate_non_finite)
    timer = _StageTimer(run_call, pipelines.device, check.called)
    width, height = plan.size
    control_types = pipelines.controls.of(plan.control_types)
    task, base = _pipeline_of(plan, pipelines, control_types)
    truncation = PromptTruncation(plan.prompt, plan.negative_prompt, task.defaults.get("max_sequence_length"))
    scheduler = None if plan.scheduler is None else pipelines.schedulers[plan.scheduler]
    pixels = width * height
    forecast = None if plan.step_interval == 1 else StepForecast(plan.step_interval)
    pipeline = attach(base, timer.run_call, pixels, check, truncation, scheduler, pipelines.device, updates, forecast)
    start = start_image(plan, index, task.row, pipelines.upscaling, pipelines.device)
    if start.repaints_nothing and start.image is not None:
        return timer.image(_received(start.image[0], check), (_REPAINTS_NOTHING,), ())
    asked = {
        "prompt": plan.prompt,
        "negative_prompt": plan.negative_prompt,
        "width": width,
        "height": height,
        "num_inference_steps": plan.num_inference_steps,
        task.guidance_argument: plan.guidance_scale,
        "strength": plan.strength,
        "image": start.argument,
        "mask_image": start.mask_argument,
        "generator": seeded_generator(plan.seeds[index]),
        "output_type": "pt",
        **({} if task.row.size is None else task.row.size(width, height)),
    }
    if task.row.references is not None and plan.references:
        asked["image"] = reference_argument(plan.references, task.row.references, plan.size, pipelines.device)
    if task.row.control is not None:
        asked |= control_arguments(plan.controls, task.row.control, control_types, plan.size, pipelines.device)
    arguments = {name: value for name, value in asked.items() if value is not None and name in task.accepts}
    with nullcontext() if on_step is None else followed(getattr(pipeline, "scheduler", None), on_step):
        output = pipeline(**arguments)
    sample = _first_image(output.images)  # [3, H, W], 0..1
    check.finished(sample)
    if start.image is not None and start.mask is not None:
        sample = torch.where(start.mask[0] >= 0.5, sample.float(), start.image[0])
    frame = _received(sample, check)
    warnings = truncation.warnings
    if any(getattr(output, "nsfw_content_detected", None) or ()):
        warnings += (f"image {index} was blacked out by the checkpoint's safety checker",)
    made = timer.image(frame, (*warnings, *check.warnings), check.stages)
    if forecast is None:
        return replace(made, computed_steps=plan.steps_done)
    return replace(made, computed_steps=forecast.computed_steps, forecast_steps=forecast.forecast_steps)


def _pipeline_of(plan: Plan, pipelines: Pipelines, control_types: Sequence[ControlType]) -> tuple[TaskPipeline, Any]:
    """What is known of the pipeline of a plan, and the pipeline with the control networks that the plan names."""
    task = pipelines.pipeline_of(plan.task, plan.control_types)
    assert task is not None, "a plan has a pipeline"
    pipeline = task.pipeline
    if task.row.control is not None:
        pipeline = with_control_networks(pipeline, task.row.control, control_types)
        if task.row.samples_unseeded:
            pipeline.__dict__["vae"] = SeededVae(pipeline.vae)
    return task, pipeline


class _StageTimer:
    """Times the stages of an image by its denoiser calls; on a GPU by its own clock, for calls only queue work."""

    def __init__(self, run_call: RunCall, device: torch.device, first_call: Callable[[DenoiserCall], None]) -> None:
        self._run_call = run_call
        self._first_call = first_call
        self._device = device
        self._started_s = self._first_call_s = time.monotonic()
        self._first_mark = self._last_mark = mark(self._device)
        self._second_mark: Any = None
        self._forwards = self._rows = self._batch_rows = 0

    def run_call(self, call: DenoiserCall) -> Any:
        """Run a denoiser call and note when."""
        if not self._forwards:
            self._first_call_s = time.monotonic()
            self._first_mark = mark(self._device)
            self._first_call(call)
        output = self._run_call(call)
        self._last_mark = mark(self._device)
        if not self._forwards:
            self._second_mark = self._last_mark
        self._forwards += 1
        self._rows += call.rows
        self._batch_rows += call.forward_rows
        return output

    def image(self, frame: Pixels, warnings: tuple[str, ...], non_finite_stages: Sequence[str]) -> GeneratedImage:
        """The finished image; `frame` has come from the device, so that all its work is done."""
        encode_s = self._first_call_s - self._started_s
        denoise_s = seconds_between(self._first_mark, self._last_mark)
        further = self._forwards - 1
        call_s = seconds_between(self._second_mark, self._last_mark) / further if further > 0 else None
        return GeneratedImage(
            frame=frame,
            started_s=self._started_s,
            encode_s=encode_s,
            denoise_s=denoise_s,
            decode_s=max(0.0, time.monotonic() - self._started_s - encode_s - denoise_s),
            forwards=self._forwards,
            call_s=call_s,
            rows=self._rows,
            batch_rows=self._batch_rows,
            warnings=warnings,
            non_finite_stages=tuple(non_finite_stages),
        )


def _first_image(images: Any) -> torch.Tensor:
    """The first of the images that a pipeline was asked for as tensors, [3, H, W]."""
    image: Any = images[0]
    if isinstance(image, torch.Tensor):
        return image
    return torch.from_numpy(image).permute(2, 0, 1)  # of a pipeline that knows no tensors (T2I-Adapter of SD 1.5)


def _received(image: torch.Tensor, check: FiniteCheck) -> Pixels:
    """[3, H, W] in 0..1 to uint8 [H, W, 3] on the host, in one copy with what the check has found.

    Raises:
        NonFinite: as `FiniteCheck.read`.
    """
    frame = image.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8).permute(1, 2, 0)
    flags = check.flags()
    (received,) = receive(torch.cat([flags.to(image.device, torch.uint8), frame.reshape(-1)]))
    check.read(received[: len(flags)])
    pixels: Pixels = received[len(flags) :].reshape(frame.shape).numpy()
    return pixels
