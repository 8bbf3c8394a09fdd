"""One checkpoint on one device: its tasks, what it accepts and its defaults. All tasks share the weights."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import DiffusionPipeline

from imagegen.api.limits import Conditions
from imagegen.file_names import native, with_plain_name
from imagegen.pipelines.classes import tasks_of
from imagegen.pipelines.controls import NO_CONTROLS, Controls, load_controls
from imagegen.pipelines.denoisers import DENOISERS
from imagegen.pipelines.loading import load_base, load_networks, readable_size
from imagegen.pipelines.previews import Projection, fit_projection
from imagegen.pipelines.schedulers import fitting_schedulers
from imagegen.pipelines.settings import PipelineSettings
from imagegen.pipelines.task_pipeline import TaskPipeline as TaskPipeline
from imagegen.pipelines.tuning import tune
from imagegen.pipelines.variant import check_variant
from imagegen_client import EDITING as EDITING
from imagegen_client import IMAGE_TO_IMAGE as IMAGE_TO_IMAGE
from imagegen_client import INPAINTING as INPAINTING
from imagegen_client import TEXT_TO_IMAGE as TEXT_TO_IMAGE
from imagegen_client import ModelDescription

_FALLBACK_NATIVE_SIDE_PX = 1024
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pipelines:
    """A loaded checkpoint: its pipelines and what a request may ask of them.

    Attributes:
        name: how the checkpoint is called in metadata; a folder's last part only.
        device: where it computes.
        tasks: pipelines by task; first the one that the checkpoint was saved for.
        schedulers: by public name; deep-copied per image.
        scheduler_name: the public name of the checkpoint's own scheduler, or its class name.
        native_size: (width, height) in pixels of size "auto".
        granularity_px: both sides of an image are multiples of this.
        upscaling: how many times larger than its input image an image is; 1 unless the checkpoint is an upscaler.
        projection: makes previews; None where the checkpoint's latents are not understood.
        controls: its control networks.
        takes_loras: whether requests may name LoRA adapters: diffusers knows how they are named for this pipeline.
    """

    name: str
    device: torch.device
    tasks: dict[str, TaskPipeline]
    schedulers: dict[str, Any]
    scheduler_name: str
    native_size: tuple[int, int]
    granularity_px: int
    upscaling: int = 1
    projection: Projection | None = None
    takes_loras: bool = False
    controls: Controls = NO_CONTROLS

    def with_pipelines(self, change: Callable[[Any], Any]) -> Pipelines:
        """The same checkpoint, each task with what `change` makes of its pipeline."""
        tasks = {name: replace(task, pipeline=change(task.pipeline)) for name, task in self.tasks.items()}
        return replace(self, tasks=tasks, controls=self.controls.with_pipelines(change))

    def all_pipelines(self) -> Iterator[Any]:
        """The pipelines of all tasks, with controls and without; they share most components."""
        for task in (*self.tasks.values(), *self.controls.pipelines.values()):
            yield task.pipeline

    def pipeline_of(self, task: str, control_types: tuple[str, ...] = ()) -> TaskPipeline | None:
        """The pipeline of a task that it does; with controls, None where none takes all of these types together."""
        return self.controls.pipeline_of(task, control_types) if control_types else self.tasks[task]

    @property
    def conditions(self) -> Conditions:
        """What a request may bring of references and controls."""
        references = self.tasks[EDITING].row.references if EDITING in self.tasks else None
        conditions = self.controls.conditions()
        if references is None:
            return conditions
        return conditions.model_copy(
            update={
                "max_references": references.most,
                "least_reference_px": references.least_px,
                "max_reference_ratio": references.max_ratio,
            }
        )

    def description(self) -> ModelDescription:
        """What whoever sends requests may know of it."""
        width, height = self.native_size
        conditions = self.conditions
        controlled = conditions.control_tasks
        return ModelDescription(
            model=self.name,
            tasks={
                task: (*pipeline.takes(), *(("control_image",) if task in controlled else ()))
                for task, pipeline in self.tasks.items()
            },
            native_size=f"{width}x{height}",
            granularity_px=self.granularity_px,
            upscaling=self.upscaling,
            schedulers=tuple(self.schedulers),
            scheduler=self.scheduler_name,
            previews=self.projection is not None,
            takes_loras=self.takes_loras,
            max_references=conditions.max_references,
            least_reference_px=conditions.least_reference_px,
            max_reference_ratio=conditions.max_reference_ratio,
            control_types=conditions.control_types,
            max_controls=conditions.max_controls,
            has_control_end=conditions.has_control_end,
        )


def load_pipelines(settings: PipelineSettings, folder: Path, default_device: str) -> Pipelines:
    """Load the checkpoint of `settings` with all tasks it can do.

    Args:
        settings: which checkpoint, and how it is loaded.
        folder: where a relative `model` path starts.
        default_device: the device of the setting "auto", as torch names it.

    Raises:
        OSError: no such checkpoint.
        ValueError: the checkpoint or a setting does not fit.
    """
    device = torch.device(default_device if settings.device == "auto" else settings.device)
    local = folder / native(settings.model)
    started_s = time.monotonic()
    with _checkpoint_folder(local, settings) as source:
        base = load_base(source, variant=settings.variant, dtype=_dtype(settings.dtype, device), device=device)
    tune(base, settings, device)
    _log.info("loaded %s in %.1f s", type(base).__name__, time.monotonic() - started_s)
    return replace(describe_pipelines(base, settings, device, folder), projection=fit_projection(base))


def load_denoisers(settings: PipelineSettings, folder: Path, device: torch.device) -> dict[str, Any]:
    """Load the denoisers of the checkpoint of `settings` and nothing else, by name, as `load_pipelines` loads them.

    Raises:
        OSError: no such checkpoint.
        ValueError: the checkpoint or a setting does not fit, or its denoisers are of no library that is known.
    """
    with _checkpoint_folder(folder / native(settings.model), settings) as source:
        denoisers = load_networks(
            source, DENOISERS, variant=settings.variant, dtype=_dtype(settings.dtype, device), device=device
        )
    if not denoisers:
        raise ValueError("parameter devices: this checkpoint's denoisers cannot be loaded alone; allowed is one device")
    tune(SimpleNamespace(**denoisers), settings, device)
    return denoisers


def fetch_checkpoint(settings: PipelineSettings, folder: Path) -> None:
    """Download the checkpoint of `settings` where it is no folder, so that others find it.

    Raises:
        OSError, ValueError: as `load_pipelines`.
    """
    local = folder / native(settings.model)
    if not local.is_dir():
        with _checkpoint_folder(local, settings):
            pass


@contextmanager
def _checkpoint_folder(local: Path, settings: PipelineSettings) -> Iterator[Path]:
    """Where the checkpoint lies while the block runs: a folder of ours, or that of a download.

    Raises:
        OSError: the hub has no such checkpoint, or does not respond.
        ValueError: it is no folder and can be no hub id, or has not the variant.
    """
    if local.is_dir():
        check_variant(local, settings.variant)
        _log.info("loading %s%s", local.name, _size_of(local))
        with with_plain_name(local) as plain:
            yield plain
    elif settings.model.count("/") > 1:
        raise ValueError(f"parameter model: {settings.model} is neither a folder that is there nor a hub id")
    else:
        _log.info("loading %s", settings.model)
        yield Path(DiffusionPipeline.download(settings.model, revision=settings.revision, variant=settings.variant))


def _size_of(folder: Path) -> str:
    """How large the weights in a folder are, for a log line; nothing where they are not known."""
    size_bytes = sum(file.stat().st_size for kind in ("safetensors", "bin") for file in folder.rglob(f"*.{kind}"))
    return f", {readable_size(size_bytes)}" if size_bytes else ""


def describe_pipelines(base: Any, settings: PipelineSettings, device: torch.device, folder: Path = Path()) -> Pipelines:
    """Describe the loaded pipeline `base` as `settings` have it, with the control networks that they name.

    Args:
        base: of diffusers.
        settings: which controls, and what a request may ask for.
        device: where it computes.
        folder: where relative folders of control networks start.

    Raises:
        OSError: there is no such control network.
        ValueError: no request can use it; the message names its class and the reason. Or a control does not fit it.
    """
    base.set_progress_bar_config(disable=True)
    found = tasks_of(base)
    row, _ = next(iter(found.values()))  # its own
    tasks = {task: TaskPipeline.of(pipeline, its_row) for task, (its_row, pipeline) in found.items()}
    schedulers = fitting_schedulers(base.scheduler, settings.max_num_inference_steps)
    own = [public for public, scheduler in schedulers.items() if scheduler is base.scheduler]
    width, height = settings.native_size_px or _native_size_px(base)
    factor = 1 if row.upscaling is None else row.upscaling(base)
    controls = load_controls(base, row, tasks, settings, folder)
    return Pipelines(
        name=Path(settings.model).name,
        device=device,
        tasks=tasks,
        schedulers={} if row.own_scheduler_only else schedulers,
        scheduler_name=own[0] if own else type(base.scheduler).__name__,
        native_size=(width, height),
        granularity_px=math.lcm(_granularity_px(base) * factor, controls.granularity_px),
        upscaling=factor,
        controls=controls,
        takes_loras=hasattr(base, "lora_state_dict") and settings.max_loras_per_request > 0,
    )


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        name = "float32" if device.type == "cpu" else "bfloat16"
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype


def _granularity_px(pipeline: Any) -> int:
    """What both sides must be multiples of: the VAE's factor times the denoiser's patch."""
    processor = getattr(pipeline, "image_processor", None)
    by_processor = processor.config.vae_scale_factor if processor is not None else 1
    transformer = getattr(pipeline, "transformer", None)
    patch = getattr(transformer.config, "patch_size", 1) if transformer is not None else 1
    by_patch = getattr(pipeline, "vae_scale_factor", 8) * (patch if isinstance(patch, int) else 2)
    # Pipelines with a UNet ask for multiples of 8, whatever the VAE.
    return int(max(by_processor, by_patch, 8 if hasattr(pipeline, "unet") else 1))


def _native_size_px(pipeline: Any) -> tuple[int, int]:
    factor = getattr(pipeline, "vae_scale_factor", 8)
    sample_size = getattr(pipeline, "default_sample_size", None)
    if sample_size is None:
        denoiser = getattr(pipeline, "unet", None) or getattr(pipeline, "transformer", None)
        sample_size = getattr(denoiser.config, "sample_size", None) if denoiser is not None else None
    if sample_size is None:
        return _FALLBACK_NATIVE_SIDE_PX, _FALLBACK_NATIVE_SIDE_PX
    height, width = sample_size if isinstance(sample_size, (list, tuple)) else (sample_size, sample_size)
    return int(width * factor), int(height * factor)
