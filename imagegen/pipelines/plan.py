"""What one request will generate: every default resolved and every combination checked before any denoising."""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass

from imagegen.api.errors import InvalidArgument
from imagegen.api.input_images import InputImages
from imagegen.api.request import ImageRequest
from imagegen.api.tensors import Pixels
from imagegen.pipelines.checkpoint import Pipelines, TaskPipeline
from imagegen.pipelines.lora_catalog import NO_LORAS, LoraCatalog
from imagegen.pipelines.plan_images import (
    PlannedControl,
    check_images,
    controlled_pipeline,
    planned_controls,
    planned_size,
)
from imagegen.pipelines.scheduler_trial import can_be_tried, completes
from imagegen.pipelines.settings import PipelineSettings
from imagegen.pipelines.step_cache import obstacle
from imagegen.pipelines.step_cadence import computed_steps

DEFAULT_STRENGTH = 0.8  # diffusers' image-to-image pipelines of Stable Diffusion
_RANDOM_SEED_BITS = 32  # enough to be distinct, short enough to write down and exact in JSON


@dataclass(frozen=True)
class PlannedLora:
    """An adapter of a request.

    Attributes:
        name: as the request has it.
        scale: how strongly it counts.
        where: it lies, as the catalog says: a file, a folder or a hub id.
    """

    name: str
    scale: float
    where: str


@dataclass(frozen=True)
class Plan:
    """One request, ready to be generated.

    Attributes:
        task: one of the names in `checkpoint`.
        prompt, negative_prompt: text; negative_prompt is None when absent.
        size: (width, height) in pixels.
        num_inference_steps: 1 or more.
        guidance_scale: None for pipelines that take none.
        strength: None unless the task starts from an image.
        scheduler: a public name, or None for the checkpoint's own.
        seeds: one an image.
        images: uint8 [N, H, W, 3], N is 1 or the number of images, or None.
        mask: uint8 [H, W], 255 = repaint, or None.
        references: uint8 [H, W, 3] each; all of them condition every image.
        controls: which each image follows.
        timeout_ms: None for no deadline.
        loras: adapters, each name once.
        step_cache: one of `tensors.STEP_CACHES`, off where nothing can be left out.
        step_interval: one of so many steps runs the denoiser, the others take a forecast; 1 for all.
        warnings: what the client should know though it is no error.
    """

    task: str
    prompt: str
    negative_prompt: str | None
    size: tuple[int, int]
    num_inference_steps: int
    guidance_scale: float | None
    strength: float | None
    scheduler: str | None
    seeds: tuple[int, ...]
    images: Pixels | None
    mask: Pixels | None
    timeout_ms: int | None
    references: tuple[Pixels, ...] = ()
    controls: tuple[PlannedControl, ...] = ()
    loras: tuple[PlannedLora, ...] = ()
    step_cache: str = "off"
    step_interval: int = 1
    warnings: tuple[str, ...] = ()

    @property
    def control_types(self) -> tuple[str, ...]:
        """The type of each control."""
        return tuple(control.type for control in self.controls)

    @property
    def expected_calls(self) -> int:
        """Denoiser calls of an image, 1 or more; that some schedulers and pipelines make two a step is left out."""
        return computed_steps(self.steps_done, self.step_interval)

    @property
    def steps_done(self) -> int:
        """Steps of the loop that are done, 1 or more."""
        return _steps_done(self.num_inference_steps, self.strength)

    @property
    def work(self) -> float:
        """Pixels of all its images times denoiser calls, by which requests are compared."""
        width, height = self.size
        return float(len(self.seeds) * width * height * self.expected_calls)


def make_plan(
    request: ImageRequest,
    given: InputImages,
    pipelines: Pipelines,
    settings: PipelineSettings,
    catalog: LoraCatalog = NO_LORAS,
) -> Plan:
    """Resolve a request against what the checkpoint can do.

    Args:
        request: the validated public request.
        given: its input images.
        pipelines: the loaded checkpoint.
        settings: defaults and caps.
        catalog: of the adapters on offer.

    Raises:
        InvalidArgument: the checkpoint cannot do what is asked.
    """
    task = check_images(request, given, pipelines)
    controls = planned_controls(request, given, pipelines)
    pipeline = controlled_pipeline(task, controls, pipelines)
    if request.negative_prompt and "negative_prompt" not in pipeline.accepts:
        raise InvalidArgument("negative_prompt", f"the model {pipelines.name} takes none")
    steps = _steps(request, pipeline, settings)
    _check_scheduler(request, steps, pipeline, pipelines, settings)
    guidance = _guidance(request, pipeline, pipelines, settings)
    strength = _strength(request, pipeline, steps)
    step_cache, reason = _step_cache(request, _steps_done(steps, strength), pipeline, pipelines, settings)
    warnings = []
    if reason is not None and request.step_cache is not None:
        warnings.append(f"step_cache has no effect: {reason}")
    if request.guidance_scale is not None and pipeline.guidance_argument == "true_cfg_scale":
        if request.negative_prompt is None:
            warnings.append("guidance_scale has no effect without negative_prompt on this model")
    elif request.negative_prompt and guidance is not None and guidance <= 1:
        warnings.append(f"negative_prompt has no effect at guidance_scale {guidance:g}")
    return Plan(
        task=task,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        size=planned_size(request, given, pipelines, settings),
        num_inference_steps=steps,
        guidance_scale=guidance,
        strength=strength,
        scheduler=request.scheduler,
        seeds=_seeds(request),
        images=given.images,
        mask=None if given.mask is None else given.mask[0],
        references=given.references,
        controls=controls,
        timeout_ms=request.timeout_ms,
        loras=_loras(request, pipelines, catalog),
        step_cache=step_cache,
        step_interval=settings.step_interval(step_cache),
        warnings=tuple(warnings),
    )


def _loras(request: ImageRequest, pipelines: Pipelines, catalog: LoraCatalog) -> tuple[PlannedLora, ...]:
    if request.loras and not pipelines.takes_loras:
        raise InvalidArgument("lora", f"the model {pipelines.name} takes no adapters")
    return tuple(PlannedLora(lora.name, lora.scale, catalog.where(lora.name)) for lora in request.loras)


def _steps_done(num_inference_steps: int, strength: float | None) -> int:
    """Of a loop; one that starts from an image begins in the middle."""
    return max(1, int(num_inference_steps * (strength or 1)))


def _step_cache(
    request: ImageRequest, steps: int, pipeline: TaskPipeline, pipelines: Pipelines, settings: PipelineSettings
) -> tuple[str, str | None]:
    """What is applied, and why that is off although something else is asked for."""
    name = request.step_cache or settings.default_step_cache
    if name == "off":
        return name, None
    own = getattr(pipeline.pipeline, "scheduler", None)
    scheduler = own if request.scheduler is None else pipelines.schedulers[request.scheduler]
    reason = obstacle(pipeline.pipeline, scheduler, steps)
    return (name, None) if reason is None else ("off", reason)


def _steps(request: ImageRequest, pipeline: TaskPipeline, settings: PipelineSettings) -> int:
    if request.num_inference_steps is not None:
        least = pipeline.row.least_steps
        if request.num_inference_steps < least:
            raise InvalidArgument(
                "num_inference_steps", f"{request.num_inference_steps}; {least} is this model's least"
            )
        return request.num_inference_steps
    if settings.default_num_inference_steps is not None:
        return settings.default_num_inference_steps
    return min(int(pipeline.defaults.get("num_inference_steps") or 50), settings.max_num_inference_steps)


def _check_scheduler(
    request: ImageRequest, steps: int, pipeline: TaskPipeline, pipelines: Pipelines, settings: PipelineSettings
) -> None:
    """Refuse a scheduler that does not fit the checkpoint, or that ends in no image after this number of steps."""
    own = getattr(pipeline.pipeline, "scheduler", None)
    if request.scheduler is not None and request.scheduler not in pipelines.schedulers:
        fitting = ", ".join(pipelines.schedulers) or "only its own, which needs no name"
        raise InvalidArgument("scheduler", f"{request.scheduler} does not fit this model; these do: {fitting}")
    scheduler = own if request.scheduler is None else pipelines.schedulers[request.scheduler]
    if scheduler is None:
        return
    most = scheduler.config.get("original_inference_steps")
    if most is not None and steps > most:
        raise InvalidArgument("num_inference_steps", f"{steps} is outside 1..{most}, the range of this scheduler")
    if completes(scheduler, steps):
        return
    if scheduler is own and not can_be_tried(own, settings.max_num_inference_steps):
        return  # it is called in a way of its own, of which a trial says nothing
    able = [name for name, each in pipelines.schedulers.items() if each is not None and completes(each, steps)]
    others = f", or one of {', '.join(able)}" if able else ""
    raise InvalidArgument(
        "scheduler" if request.scheduler else "num_inference_steps",
        f"{request.scheduler or pipelines.scheduler_name} gives no image in {steps} step{'s' if steps > 1 else ''}"
        f" of this model's noise schedule; take another number of steps{others}",
    )


def _guidance(
    request: ImageRequest, pipeline: TaskPipeline, pipelines: Pipelines, settings: PipelineSettings
) -> float | None:
    if pipeline.guidance_argument not in pipeline.accepts:
        if request.guidance_scale is not None:
            raise InvalidArgument("guidance_scale", f"the model {pipelines.name} takes none")
        return None
    if request.guidance_scale is not None:
        return request.guidance_scale
    if settings.default_guidance_scale is not None:
        return settings.default_guidance_scale
    default = pipeline.defaults.get(pipeline.guidance_argument)
    return None if default is None else float(default)


def _strength(request: ImageRequest, pipeline: TaskPipeline, steps: int) -> float | None:
    if "strength" not in pipeline.accepts:
        if request.strength is not None:
            raise InvalidArgument("strength", "the model takes none; how far it moves away is its own choice")
        return None
    strength = DEFAULT_STRENGTH if request.strength is None else request.strength
    if int(steps * strength) < 1:  # diffusers runs int(steps x strength) steps
        least = math.ceil(1000 / steps) / 1000  # rounded up: 0.333 of 3 steps would again leave none
        raise InvalidArgument("strength", f"{strength:g} of {steps} steps leaves no step; use {least:g} or more")
    return strength


def _seeds(request: ImageRequest) -> tuple[int, ...]:
    if len(request.seeds) == request.n:
        return request.seeds
    first = request.seeds[0] if request.seeds else secrets.randbits(_RANDOM_SEED_BITS)
    return tuple(first + index for index in range(request.n))
