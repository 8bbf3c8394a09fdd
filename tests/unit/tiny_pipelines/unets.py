"""Tiny pipelines whose denoiser is a UNet."""

from __future__ import annotations

from typing import Any

from diffusers import (
    ControlNetModel,
    DDIMScheduler,
    EulerDiscreteScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPAGPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextModelWithProjection

from tests.unit.tiny_pipelines.parts import SIDE_PX, WIDTH, clip, kl_autoencoder, quiet, seeded, tokenizer


def _unet(**config: Any) -> Any:
    defaults: dict[str, Any] = {
        "sample_size": SIDE_PX // 2,
        "in_channels": 4,
        "out_channels": 4,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 2,
        "norm_num_groups": 2,
    }
    return seeded(UNet2DConditionModel, **defaults | config)


def _ddim() -> Any:
    return DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1, set_alpha_to_one=False)


def _sd_parts() -> dict[str, Any]:
    return {
        "vae": kl_autoencoder(),
        "text_encoder": clip(),
        "tokenizer": tokenizer(),
        "unet": _unet(),
        "scheduler": _ddim(),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


def sd() -> Any:
    """Stable Diffusion 1.5, text-to-image."""
    return quiet(StableDiffusionPipeline(**_sd_parts()))


def sd_image_to_image() -> Any:
    """Stable Diffusion 1.5, image-to-image."""
    return quiet(StableDiffusionImg2ImgPipeline(**_sd_parts()))


def sd_inpainting(channels: int = 4) -> Any:
    """Stable Diffusion 1.5 inpainting with a plain UNet (4 channels) or one that sees the mask (9)."""
    parts = _sd_parts()
    return quiet(StableDiffusionInpaintPipeline(**parts | {"unet": _unet(in_channels=channels)}))


def sd_pag() -> Any:
    """Stable Diffusion 1.5 with perturbed attention guidance, which swaps the UNet's attention processors."""
    return quiet(StableDiffusionPAGPipeline(**_sd_parts(), pag_applied_layers=["mid"]))


def sd_controlnet() -> Any:
    """Stable Diffusion 1.5 with a ControlNet."""
    controlnet = seeded(
        ControlNetModel,
        in_channels=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
        norm_num_groups=2,
        conditioning_embedding_out_channels=(8, 8),
    )
    return quiet(StableDiffusionControlNetPipeline(**_sd_parts(), controlnet=controlnet))


def sdxl() -> Any:
    """Stable Diffusion XL: two text encoders, size conditioning."""
    unet = _unet(
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        transformer_layers_per_block=1,
        projection_class_embeddings_input_dim=6 * 4 + WIDTH,
        cross_attention_dim=2 * WIDTH,
        use_linear_projection=True,
    )
    return quiet(
        StableDiffusionXLPipeline(
            vae=kl_autoencoder(),
            text_encoder=clip(),
            text_encoder_2=clip(CLIPTextModelWithProjection),
            tokenizer=tokenizer(),
            tokenizer_2=tokenizer(),
            unet=unet,
            scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear"),
            add_watermarker=False,
        )
    )
