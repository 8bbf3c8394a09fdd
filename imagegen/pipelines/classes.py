"""What the class of a pipeline says before anything is generated: whether requests can use it, and for what first."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from diffusers.pipelines import auto_pipeline

from imagegen.pipelines.denoisers import DENOISERS
from imagegen_client import IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE

_CARRIED = {"prompt", "image", "mask_image"}  # arguments without default that a request has a value for
_VIDEO = {"num_frames", "frames", "video", "video_length", "num_videos_per_prompt"}
_INDISPENSABLE = ("prompt", "num_inference_steps", "generator", "output_type")

SWAPS_ATTENTION = ("PAG", "LEdits")
"""Parts of the names of pipelines that set attention processors on the shared denoiser for the length of a call."""

# How many times larger than its input image an image is. The first denoises latents of the size of the image.
_UPSCALERS: dict[str, Callable[[Any], int]] = {
    "StableDiffusionUpscalePipeline": lambda pipeline: int(pipeline.vae_scale_factor),
    "StableDiffusionLatentUpscalePipeline": lambda pipeline: 2,
}
# Its call computes with the sigmas of the scheduler that it was trained with.
_OWN_SCHEDULER_ONLY = {"StableDiffusionLatentUpscalePipeline"}


def refusal(kind: type[Any]) -> str | None:
    """Why no request can use pipelines of this class; None where nothing speaks against it.

    Args:
        kind: a class of diffusers, or one with a `__call__` like theirs.

    Returns:
        words that follow the name of the class, such as "makes videos".
    """
    arguments = inspect.signature(kind.__call__).parameters
    if any(a.kind is a.VAR_POSITIONAL for a in arguments.values()):
        return "is not there: a package that it needs is not installed"
    if _VIDEO & arguments.keys():
        return "makes videos"
    if "audio" in kind.__name__.lower() or any("audio" in name for name in arguments):
        return "makes sound"
    if "frame_size" in arguments:
        return "makes views of an object"
    if "Prior" in kind.__name__:
        return "makes embeddings, not images"
    if any(name.startswith(("control", "adapter_")) for name in arguments) or "ControlNet" in kind.__name__:
        return "needs a control image, which no request carries"
    if "depth_map" in arguments:
        return "needs a depth map, which no request carries"
    if "mask_image" in arguments and "image" not in arguments:
        return "needs latents of an image, which no request carries"
    unmet = [
        name
        for name, a in arguments.items()
        if name not in _CARRIED | {"self"} and a.default is a.empty and a.kind is not a.VAR_KEYWORD
    ]
    if unmet:
        return f"needs {', '.join(unmet)}, which no request carries"
    missing = [name for name in _INDISPENSABLE if name not in arguments]
    return f"takes no {', '.join(missing)}" if missing else None


def check_pipeline(pipeline: Any) -> None:
    """Refuse a pipeline that no request can use.

    Raises:
        ValueError: it names the class and the reason.
    """
    reason = refusal(type(pipeline))
    if reason is None and not any(getattr(pipeline, name, None) is not None for name in DENOISERS):
        reason = f"has none of {', '.join(DENOISERS)}, whose calls requests share"
    if reason is None and getattr(pipeline, "scheduler", None) is None:
        reason = "has no scheduler"
    if reason is not None:
        raise ValueError(f"{type(pipeline).__name__} {reason}; it is not served")


def own_task(pipeline: Any) -> str:
    """The task that a checkpoint was saved for."""
    arguments = inspect.signature(pipeline.__call__).parameters
    # Some that edit by instruction need no image: AutoPipeline has them for text too.
    if "image" not in arguments or type(pipeline) in auto_pipeline.AUTO_TEXT2IMAGE_PIPELINES_MAPPING.values():
        return TEXT_TO_IMAGE
    return INPAINTING if "mask_image" in arguments else IMAGE_TO_IMAGE


def does_only_its_own_task(pipeline: Any) -> bool:
    """Whether the denoiser expects channels beside the latents: of a mask or an image, without which it cannot run."""
    unet, vae = getattr(pipeline, "unet", None), getattr(pipeline, "vae", None)
    return unet is not None and vae is not None and bool(unet.config.in_channels != vae.config.latent_channels)


def refines_only(pipeline: Any) -> bool:
    """Whether it was trained for the last steps alone (SDXL's refiner): it starts from an image, never from text."""
    return bool(pipeline.config.get("requires_aesthetics_score"))


def upscaling(pipeline: Any) -> int:
    """How many times larger than its input image an image of the pipeline is; 1 unless it is an upscaler."""
    kinds = (kind.__name__ for kind in type(pipeline).__mro__)
    return next((_UPSCALERS[name](pipeline) for name in kinds if name in _UPSCALERS), 1)


def takes_its_own_scheduler_only(pipeline: Any) -> bool:
    """Whether a request cannot choose another scheduler."""
    return any(kind.__name__ in _OWN_SCHEDULER_ONLY for kind in type(pipeline).__mro__)
