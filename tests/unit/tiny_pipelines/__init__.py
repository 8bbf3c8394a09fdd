"""Pipelines of many families with tiny random weights, built in memory: no files, no network, a second or less each."""

from tests.unit.tiny_pipelines.parts import SIDE_PX, WIDTH, WORDS, tokenizer
from tests.unit.tiny_pipelines.transformers import (
    flux,
    flux_kontext,
    lumina2,
    pixart_sigma,
    qwen_image,
    sana,
    sd3,
    z_image,
)
from tests.unit.tiny_pipelines.unets import (
    sd,
    sd_controlnet,
    sd_image_to_image,
    sd_inpainting,
    sd_instruct,
    sd_latent_upscale,
    sd_pag,
    sd_upscale,
    sdxl,
    sdxl_instruct,
    sdxl_refiner,
)

__all__ = [
    "SIDE_PX",
    "WIDTH",
    "WORDS",
    "flux",
    "flux_kontext",
    "lumina2",
    "pixart_sigma",
    "qwen_image",
    "sana",
    "sd",
    "sd3",
    "sd_controlnet",
    "sd_image_to_image",
    "sd_inpainting",
    "sd_instruct",
    "sd_latent_upscale",
    "sd_pag",
    "sd_upscale",
    "sdxl",
    "sdxl_instruct",
    "sdxl_refiner",
    "tokenizer",
    "z_image",
]
