"""One image by plain diffusers, from the arguments of `Engine.generate`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any
from unittest import mock

import diffusers
import numpy as np
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.pipelines.qwenimage import (
    pipeline_qwenimage_edit,
    pipeline_qwenimage_edit_inpaint,
    pipeline_qwenimage_edit_plus,
)
from PIL import Image

from imagegen.pipelines.checkpoint import Pipelines
from imagegen.pipelines.class_table import TABLE
from tests.unit.tiny_engine import Pixels

SIDE_PX = 64
_TEXT_TOKENS = 64


def plain_image(pipelines: Pipelines, options: Mapping[str, Any]) -> Pixels:
    """The image of a request by plain diffusers, uint8 [H, W, 3]."""
    name = class_of(pipelines, options)
    arguments = _arguments(name, pipelines, options)
    pipeline = _pipeline(name, pipelines, options)
    with torch.no_grad(), _seeded() if "StableDiffusion3ControlNet" in name else nullcontext():
        (sample, *_) = pipeline(**arguments).images
    if isinstance(sample, np.ndarray):
        sample = torch.from_numpy(sample).permute(2, 0, 1)
    if "mask" in options:  # what is outside of the mask is the input's own
        mask = torch.from_numpy(options["mask"])[None] >= 128
        sample = torch.where(mask, sample.float(), _tensor(options["images"])[0])
    frame: Pixels = (sample.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return frame


@contextmanager
def _seeded() -> Iterator[None]:
    """Who samples without a generator gets the distribution's mode."""
    sample = DiagonalGaussianDistribution.sample

    def seeded(distribution: Any, generator: Any = None) -> Any:
        return distribution.mode() if generator is None else sample(distribution, generator)

    with mock.patch.object(DiagonalGaussianDistribution, "sample", seeded):
        yield


def class_of(pipelines: Pipelines, options: Mapping[str, Any]) -> str:
    """The class of the pipeline that makes a request."""
    task = "inpainting" if "mask" in options else "image-to-image" if "images" in options else "text-to-image"
    task = "editing" if "references" in options else task
    made = pipelines.pipeline_of(task, tuple(options.get("control_type", ())))
    assert made is not None
    return type(made.pipeline).__name__


def _pipeline(name: str, pipelines: Pipelines, options: Mapping[str, Any]) -> Any:
    """By its constructor: `from_pipe` would cast the components to float32."""
    base = next(iter(pipelines.tasks.values())).pipeline
    kind = getattr(diffusers, name)
    names, settings = kind._get_signature_keys(kind)
    parts = {key: value for key, value in base.components.items() if key in names}
    parts |= {key: value for key, value in base.config.items() if key in settings}
    networks = [pipelines.controls.types[each].network for each in options.get("control_type", ())]
    if networks:
        part = "adapter" if "Adapter" in name else "controlnet"
        together = len(networks) > 1 and "Union" not in name
        parts[part] = _MULTI[type(networks[0]).__name__](networks) if together else networks[0]
    made = kind(**parts)
    made.set_progress_bar_config(disable=True)
    return made


_MULTI: dict[str, Any] = {
    "ControlNetModel": diffusers.MultiControlNetModel,
    "FluxControlNetModel": diffusers.FluxMultiControlNetModel,
    "SD3ControlNetModel": diffusers.SD3MultiControlNetModel,
    "T2IAdapter": diffusers.MultiAdapter,
}
_CONTROL_IS_IMAGE = {"StableDiffusionControlNetPipeline", "StableDiffusionXLControlNetPipeline"}


def _arguments(name: str, pipelines: Pipelines, options: Mapping[str, Any]) -> dict[str, Any]:
    width, height = map(int, options["size"].split("x"))
    takes = set(_call_names(name))
    given: dict[str, Any] = {
        "prompt": options["prompt"],
        "negative_prompt": options.get("negative_prompt"),
        "num_inference_steps": options["num_inference_steps"],
        "true_cfg_scale" if "Qwen" in name else "guidance_scale": options.get("guidance_scale"),
        "generator": torch.Generator().manual_seed(options["seed"]),
        "width": width,
        "height": height,
        "strength": options.get("strength"),
        "output_type": "pt",
        "max_area": width * height,
        "_auto_resize": False,
        "use_resolution_binning": False,
    }
    if "images" in options:
        image = options["images"]
        given["image"] = Image.fromarray(image) if name == "QwenImageEditInpaintPipeline" else _tensor(image)
    if "mask" in options:
        given["mask_image"] = (torch.from_numpy(options["mask"])[None, None] >= 128).float()
    if "references" in options:
        given["image"] = _references(name, options["references"])
    if "controls" in options:
        given |= _controls(name, pipelines, options)
    return {key: value for key, value in given.items() if key in takes and value is not None}


def _references(name: str, references: Sequence[Pixels]) -> Any:
    if "InstructPix2Pix" in name:
        return _tensor(references[0])
    images = [Image.fromarray(reference) for reference in references]
    if name == "FluxKontextPipeline":  # of the area of the image
        width, height = images[0].size
        scale = SIDE_PX / (width * height) ** 0.5
        return images[0].resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS)
    return images[0] if name == "QwenImageEditPipeline" else images


def _controls(name: str, pipelines: Pipelines, options: Mapping[str, Any]) -> dict[str, Any]:
    adapter = "Adapter" in name
    image = "image" if adapter or name in _CONTROL_IS_IMAGE else "control_image"
    scale = "adapter_conditioning_scale" if adapter else "controlnet_conditioning_scale"
    modes = [pipelines.controls.types[each].mode for each in options["control_type"]]
    given = {image: [_tensor(each) for each in options["controls"]], scale: options["control_scale"]}
    given["control_guidance_end"] = options["control_end"]
    if len(modes) > 1 or modes[0] is not None:
        given["control_mode"] = modes
    plain = {key: value[0] if len(value) == 1 else value for key, value in given.items()}
    return plain | {"adapter_conditioning_factor": options["control_end"][0]}


def _call_names(name: str) -> Sequence[str]:
    code = getattr(diffusers, name).__call__
    return tuple(inspect.signature(code).parameters)


def _tensor(image: Pixels) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


@contextmanager
def small_inputs() -> Iterator[None]:
    """Pipelines that scale references to a megapixel, and pad every prompt, make them as small as all else here."""
    with ExitStack() as stack:
        for module in (pipeline_qwenimage_edit, pipeline_qwenimage_edit_inpaint, pipeline_qwenimage_edit_plus):
            small = partial(_at_small_area, module.calculate_dimensions)
            stack.enter_context(mock.patch.object(module, "calculate_dimensions", small))
        for name in TABLE:
            if not name.startswith("Qwen"):  # its texts are as long as they are, and cut at this length
                call = getattr(diffusers, name).__call__.__wrapped__
                stack.enter_context(mock.patch.object(call, "__defaults__", _with_short_texts(call)))
        yield


def _at_small_area(calculate: Any, area: float, ratio: float) -> Any:
    return calculate(SIDE_PX**2, ratio)


def _with_short_texts(call: Any) -> tuple[Any, ...]:
    """The default values of a pipeline's call, for prompts of at most so many tokens."""
    arguments = [each for each in inspect.signature(call).parameters.values() if each.default is not each.empty]
    return tuple(_TEXT_TOKENS if each.name == "max_sequence_length" else each.default for each in arguments)
