"""Pipelines of many families with tiny random weights, built in memory: no files, no network, a second or less each."""

from tests.unit.tiny_pipelines.flux import chroma, flux, flux2, flux2_klein, flux_fill, flux_kontext
from tests.unit.tiny_pipelines.parts import SIDE_PX, WIDTH, WORDS, tokenizer
from tests.unit.tiny_pipelines.qwen import qwen_edit, qwen_edit_plus, qwen_image
from tests.unit.tiny_pipelines.transformers import lumina2, pixart_alpha, pixart_sigma, sana, sd3
from tests.unit.tiny_pipelines.unets import (
    latent_consistency,
    sd,
    sd_controlnet,
    sd_for_adapters,
    sd_image_to_image,
    sd_inpainting,
    sd_instruct,
    sd_latent_upscale,
    sd_pag,
    sd_upscale,
    sdxl,
    sdxl_instruct,
    sdxl_pag,
    sdxl_refiner,
)
from tests.unit.tiny_pipelines.z_image import z_image, z_image_omni

__all__ = [
    "SIDE_PX",
    "WIDTH",
    "WORDS",
    "chroma",
    "flux",
    "flux2",
    "flux2_klein",
    "flux_fill",
    "flux_kontext",
    "latent_consistency",
    "lumina2",
    "pixart_alpha",
    "pixart_sigma",
    "qwen_edit",
    "qwen_edit_plus",
    "qwen_image",
    "sana",
    "sd",
    "sd3",
    "sd_controlnet",
    "sd_for_adapters",
    "sd_image_to_image",
    "sd_inpainting",
    "sd_instruct",
    "sd_latent_upscale",
    "sd_pag",
    "sd_upscale",
    "sdxl",
    "sdxl_instruct",
    "sdxl_pag",
    "sdxl_refiner",
    "tokenizer",
    "z_image",
    "z_image_omni",
]
