"""What the class of a pipeline says before anything is generated: whether requests can use it, and for what."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import diffusers

from imagegen.pipelines.class_table import TABLE, row_of, rows_of_weights
from imagegen.pipelines.denoisers import DENOISERS
from imagegen.pipelines.pipeline_class import PipelineClass
from imagegen_client import TEXT_TO_IMAGE

_CARRIED = {"prompt", "image", "mask_image"}  # arguments without default that a request has a value for
_VIDEO = {"num_frames", "frames", "video", "video_length", "num_videos_per_prompt"}

SWAPS_ATTENTION = ("PAG", "LEdits")
"""Parts of the names of pipelines that set attention processors on the shared denoiser for the length of a call."""


def refusal(kind: type[Any]) -> str | None:
    """Why pipelines of this class are not served; None where they are.

    Args:
        kind: a class of diffusers, or one that is derived from one.

    Returns:
        words that follow the name of the class, such as "makes videos".
    """
    row = row_of(kind)
    if row is not None and row.control is None:
        return None
    arguments = inspect.signature(kind.__call__).parameters
    if any(a.kind is a.VAR_POSITIONAL for a in arguments.values()):
        return "is not there: a package that it needs is not installed"
    if row is not None and row.control is not None:
        plain = next(each.name for each in rows_of_weights(row.weights) if each.control is None)
        return f"brings its own control network; serve {plain}, and name the network in the parameter controlnets"
    if _VIDEO & arguments.keys():
        return "makes videos"
    if "audio" in kind.__name__.lower() or any("audio" in name for name in arguments):
        return "makes sound"
    if "frame_size" in arguments:
        return "makes views of an object"
    if "Prior" in kind.__name__:
        return "makes embeddings, not images"
    unmet = [
        name
        for name, a in arguments.items()
        if name not in _CARRIED | {"self"} and a.default is a.empty and a.kind is not a.VAR_KEYWORD
    ]
    if unmet:
        return f"needs {', '.join(unmet)}, which no request carries"
    return "takes no prompt" if "prompt" not in arguments else "is not among those that are tested"


def check_pipeline(pipeline: Any) -> PipelineClass:
    """The row of a pipeline's class; a pipeline that no request can use is refused.

    Raises:
        ValueError: it names the class, the reason and the classes that work.
    """
    row, reason = row_of(type(pipeline)), refusal(type(pipeline))
    if reason is None and not any(getattr(pipeline, name, None) is not None for name in DENOISERS):
        reason = f"has none of {', '.join(DENOISERS)}, whose calls requests share"
    if reason is None and getattr(pipeline, "scheduler", None) is None:
        reason = "has no scheduler"
    if row is None or reason is not None:
        work = ", ".join(name for name, each in TABLE.items() if each.control is None)
        raise ValueError(f"{type(pipeline).__name__} {reason}; it is not served. These are: {work}")
    return row


def tasks_of(pipeline: Any) -> dict[str, tuple[PipelineClass, Any]]:
    """The tasks that a checkpoint does, each with its row and its pipeline; first those that it was saved for.

    Raises:
        ValueError: it is not served; see `check_pipeline`.
    """
    own = check_pipeline(pipeline)
    tasks = {task: (own, pipeline) for task in own.tasks}
    if _does_only_its_own_task(pipeline):
        return tasks
    for row in rows_of_weights(own.weights):
        for task in row.tasks:
            if row.control is None and task not in tasks and not (task == TEXT_TO_IMAGE and _refines_only(pipeline)):
                tasks[task] = row, derived(pipeline, row, {})
    return tasks


def derived(pipeline: Any, row: PipelineClass, parts: Mapping[str, Any]) -> Any:
    """A pipeline of another class with the components of `pipeline`, and with `parts`.

    Not by diffusers' `from_pipe`, which casts the components that they share to float32.
    """
    kind = getattr(diffusers, row.name)
    components, settings = kind._get_signature_keys(kind)
    given = {name: part for name, part in pipeline.components.items() if name in components}
    config = {name: value for name, value in pipeline.config.items() if name in settings}
    made = kind(**(config | given | dict(parts)))
    made.set_progress_bar_config(disable=True)
    return made


def _does_only_its_own_task(pipeline: Any) -> bool:
    """Whether the denoiser expects channels beside the latents: of a mask or an image, without which it cannot run."""
    unet, vae = getattr(pipeline, "unet", None), getattr(pipeline, "vae", None)
    return unet is not None and vae is not None and bool(unet.config.in_channels != vae.config.latent_channels)


def _refines_only(pipeline: Any) -> bool:
    """Whether it was trained for the last steps alone (SDXL's refiner): it starts from an image, never from text."""
    return bool(pipeline.config.get("requires_aesthetics_score"))
