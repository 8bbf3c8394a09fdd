"""The classes of diffusers' pipelines that are served, each tested: one table.

A checkpoint is served by the row of its class, and does what the rows of the same `weights` do. Where requests bring
control images, rows with a control of the same `weights` take the place of those without.
"""

from __future__ import annotations

from typing import Any

from imagegen.pipelines.pipeline_class import Control, Form, PipelineClass, References
from imagegen_client import EDITING, IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE

_TEXT, _IMAGE, _MASK, _EDIT = (TEXT_TO_IMAGE,), (IMAGE_TO_IMAGE,), (INPAINTING,), (EDITING,)


def _area(width: int, height: int) -> dict[str, Any]:
    """Flux Kontext takes no more than the sides' ratio from width and height, unless it is told the area.

    It scales references to one of its sizes of training, of about that area, whatever the size of the image; here they
    come with the area of the image, and keep their proportions.
    """
    return {"max_area": width * height, "_auto_resize": False}


def _as_asked(width: int, height: int) -> dict[str, Any]:
    """Else the nearest of the sizes of training is made, and scaled (PixArt, Sana)."""
    return {"use_resolution_binning": False}


# In the order of the network's types: diffusers, controlnet_union.py, and the card of xinsir's ControlNet++ ProMax.
_UNION_MODES = ("pose", "depth", "scribble", "canny", "normal", "segment", "tile", "repaint")
# The card of InstantX's and Shakker Labs' FLUX.1-dev-Controlnet-Union.
_FLUX_MODES = ("canny", "tile", "depth", "blur", "pose", "gray", "lq")

_NET = Control("ControlNetModel", several="MultiControlNetModel")
_NET_OF_TEXT = Control("ControlNetModel", several="MultiControlNetModel", image="image")
_UNION = Control("ControlNetUnionModel", mode="control_mode", modes=_UNION_MODES)
_FLUX_NET = Control("FluxControlNetModel", several="FluxMultiControlNetModel", mode="control_mode", modes=_FLUX_MODES)
_SD3_NET = Control("SD3ControlNetModel", several="SD3MultiControlNetModel")
_QWEN_NET = Control("QwenImageControlNetModel")
_Z_NET = Control("ZImageControlNetModel", end=None)
_ADAPTER = Control("T2IAdapter", "adapter", "image", "adapter_conditioning_scale", end=None, several="MultiAdapter")
_XL_ADAPTER = Control(
    "T2IAdapter",
    "adapter",
    "image",
    "adapter_conditioning_scale",
    end="adapter_conditioning_factor",
    end_for_all=True,
    several="MultiAdapter",
)

_ROWS = (
    PipelineClass("StableDiffusionPipeline", "stable-diffusion", _TEXT),
    PipelineClass("StableDiffusionImg2ImgPipeline", "stable-diffusion", _IMAGE),
    PipelineClass("StableDiffusionInpaintPipeline", "stable-diffusion", _MASK),
    PipelineClass("StableDiffusionControlNetPipeline", "stable-diffusion", _TEXT, control=_NET_OF_TEXT),
    PipelineClass("StableDiffusionControlNetImg2ImgPipeline", "stable-diffusion", _IMAGE, control=_NET),
    PipelineClass("StableDiffusionControlNetInpaintPipeline", "stable-diffusion", _MASK, control=_NET),
    PipelineClass("StableDiffusionAdapterPipeline", "stable-diffusion", _TEXT, control=_ADAPTER),
    PipelineClass("StableDiffusionPAGPipeline", "stable-diffusion-pag", _TEXT),
    PipelineClass("StableDiffusionPAGImg2ImgPipeline", "stable-diffusion-pag", _IMAGE),
    PipelineClass("StableDiffusionPAGInpaintPipeline", "stable-diffusion-pag", _MASK),
    PipelineClass(
        "StableDiffusionUpscalePipeline",
        "stable-diffusion-upscaler",
        _IMAGE,
        upscaling=lambda pipeline: int(pipeline.vae_scale_factor),  # it denoises latents of the size of the image
    ),
    PipelineClass(
        "StableDiffusionLatentUpscalePipeline",
        "stable-diffusion-latent-upscaler",
        _IMAGE,
        upscaling=lambda pipeline: 2,
        own_scheduler_only=True,
    ),
    PipelineClass(
        "StableDiffusionInstructPix2PixPipeline",
        "instruct-pix2pix",
        _EDIT,
        references=References(1, Form.TENSOR_AT_SIZE, keeps_size=True),
    ),
    PipelineClass("StableDiffusionXLPipeline", "stable-diffusion-xl", _TEXT),
    PipelineClass("StableDiffusionXLImg2ImgPipeline", "stable-diffusion-xl", _IMAGE),
    PipelineClass("StableDiffusionXLInpaintPipeline", "stable-diffusion-xl", _MASK),
    PipelineClass("StableDiffusionXLControlNetPipeline", "stable-diffusion-xl", _TEXT, control=_NET_OF_TEXT),
    PipelineClass("StableDiffusionXLControlNetImg2ImgPipeline", "stable-diffusion-xl", _IMAGE, control=_NET),
    PipelineClass("StableDiffusionXLControlNetInpaintPipeline", "stable-diffusion-xl", _MASK, control=_NET),
    PipelineClass("StableDiffusionXLControlNetUnionPipeline", "stable-diffusion-xl", _TEXT, control=_UNION),
    PipelineClass("StableDiffusionXLControlNetUnionImg2ImgPipeline", "stable-diffusion-xl", _IMAGE, control=_UNION),
    PipelineClass("StableDiffusionXLControlNetUnionInpaintPipeline", "stable-diffusion-xl", _MASK, control=_UNION),
    PipelineClass("StableDiffusionXLAdapterPipeline", "stable-diffusion-xl", _TEXT, control=_XL_ADAPTER),
    PipelineClass(
        "StableDiffusionXLInstructPix2PixPipeline",
        "instruct-pix2pix-xl",
        _EDIT,
        references=References(1, Form.TENSOR_AT_SIZE, keeps_size=True),
    ),
    PipelineClass("StableDiffusion3Pipeline", "stable-diffusion-3", _TEXT),
    PipelineClass("StableDiffusion3Img2ImgPipeline", "stable-diffusion-3", _IMAGE),
    PipelineClass("StableDiffusion3InpaintPipeline", "stable-diffusion-3", _MASK),
    PipelineClass(
        "StableDiffusion3ControlNetPipeline", "stable-diffusion-3", _TEXT, control=_SD3_NET, samples_unseeded=True
    ),
    PipelineClass("FluxPipeline", "flux", _TEXT),
    PipelineClass("FluxImg2ImgPipeline", "flux", _IMAGE),
    PipelineClass("FluxInpaintPipeline", "flux", _MASK),
    PipelineClass("FluxControlNetPipeline", "flux", _TEXT, control=_FLUX_NET),
    PipelineClass("FluxControlNetImg2ImgPipeline", "flux", _IMAGE, control=_FLUX_NET),
    PipelineClass("FluxControlNetInpaintPipeline", "flux", _MASK, control=_FLUX_NET),
    PipelineClass(
        "FluxKontextPipeline", "flux-kontext", (*_TEXT, *_EDIT), references=References(1, Form.PIL_OF_AREA), size=_area
    ),
    PipelineClass(
        "Flux2Pipeline",
        "flux2",
        (*_TEXT, *_EDIT),
        references=References(16, Form.PIL_LIST, least_px=64, keeps_size=True),
    ),
    PipelineClass(
        "Flux2KleinPipeline",
        "flux2-klein",
        (*_TEXT, *_EDIT),
        references=References(16, Form.PIL_LIST, least_px=64, keeps_size=True),
    ),
    PipelineClass("PixArtSigmaPipeline", "pixart-sigma", _TEXT, size=_as_asked),
    # In a single step it takes a second result of the scheduler, which none but a few have.
    PipelineClass("PixArtAlphaPipeline", "pixart-alpha", _TEXT, size=_as_asked, least_steps=2),
    PipelineClass("SanaPipeline", "sana", _TEXT, size=_as_asked),
    PipelineClass("Lumina2Pipeline", "lumina2", _TEXT),
    PipelineClass("QwenImagePipeline", "qwen-image", _TEXT),
    PipelineClass("QwenImageImg2ImgPipeline", "qwen-image", _IMAGE),
    PipelineClass("QwenImageInpaintPipeline", "qwen-image", _MASK),
    PipelineClass("QwenImageControlNetPipeline", "qwen-image", _TEXT, control=_QWEN_NET),
    PipelineClass("QwenImageEditPipeline", "qwen-image-edit", _EDIT, references=References(1, Form.PIL)),
    PipelineClass("QwenImageEditInpaintPipeline", "qwen-image-edit", _MASK, image=Form.PIL),
    PipelineClass(
        "QwenImageEditPlusPipeline", "qwen-image-edit-plus", _EDIT, references=References(16, Form.PIL_LIST, size_of=-1)
    ),
    PipelineClass("ZImagePipeline", "z-image", _TEXT),
    PipelineClass("ZImageImg2ImgPipeline", "z-image", _IMAGE),
    PipelineClass("ZImageInpaintPipeline", "z-image", _MASK),
    PipelineClass("ZImageControlNetPipeline", "z-image", _TEXT, control=_Z_NET),
    PipelineClass("ZImageOmniPipeline", "z-image-omni", (*_TEXT, *_EDIT), references=References(16, Form.PIL_LIST)),
)

TABLE = {row.name: row for row in _ROWS}
"""By name of the class."""


def row_of(kind: type[Any]) -> PipelineClass | None:
    """The row of a class or of the nearest class that it is derived from; None for one outside the table."""
    return next((TABLE[base.__name__] for base in kind.__mro__ if base.__name__ in TABLE), None)


def rows_of_weights(weights: str) -> list[PipelineClass]:
    """The rows of one kind of checkpoint."""
    return [row for row in _ROWS if row.weights == weights]
