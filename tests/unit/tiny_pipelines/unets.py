"""Tiny pipelines whose denoiser is a UNet."""

from __future__ import annotations

from typing import Any

from diffusers import (
    ControlNetModel,
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionLatentUpscalePipeline,
    StableDiffusionPAGPipeline,
    StableDiffusionPipeline,
    StableDiffusionUpscalePipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInstructPix2PixPipeline,
    StableDiffusionXLPAGPipeline,
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


def latent_consistency() -> Any:
    """A latent consistency model: guidance is an argument of the UNet, and a few steps of its own scheduler."""
    parts = {name: part for name, part in _sd_parts().items() if name not in ("unet", "scheduler")}
    scheduler = LCMScheduler(beta_schedule="scaled_linear")
    return quiet(LatentConsistencyModelPipeline(**parts, unet=_unet(time_cond_proj_dim=16), scheduler=scheduler))


def sd_for_adapters() -> Any:
    """Stable Diffusion 1.5 with attention in its first block, where a T2I-Adapter's features belong, as in the real."""
    unet = _unet(
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D")
    )
    return quiet(StableDiffusionPipeline(**_sd_parts() | {"unet": unet}))


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


def sd_upscale() -> Any:
    """The upscaler of Stable Diffusion 2: an image without noise beside the latents, which are of its size."""
    parts = {name: part for name, part in _sd_parts().items() if name != "requires_safety_checker"}
    parts["unet"] = _unet(in_channels=7, num_class_embeds=1000)
    parts["vae"].register_to_config(scaling_factor=0.08333)  # of any other the pipeline warns
    return quiet(StableDiffusionUpscalePipeline(**parts, low_res_scheduler=DDPMScheduler(), max_noise_level=350))


def sd_latent_upscale() -> Any:
    """The latent upscaler of Stable Diffusion 2: twice the image's size; of one scheduler, whose sigmas it reads."""
    unet = _unet(in_channels=8, out_channels=5, sample_size=None, time_cond_proj_dim=128 + WIDTH)
    parts = {name: part for name, part in _sd_parts().items() if name in ("vae", "text_encoder", "tokenizer")}
    scheduler = EulerDiscreteScheduler(beta_schedule="scaled_linear")
    return quiet(StableDiffusionLatentUpscalePipeline(**parts, unet=unet, scheduler=scheduler))


def sd_instruct() -> Any:
    """InstructPix2Pix: follows an instruction; the image's latents lie beside those that are denoised."""
    parts = _sd_parts()
    return quiet(StableDiffusionInstructPix2PixPipeline(**parts | {"unet": _unet(in_channels=8)}))


def _sdxl_unet(**config: Any) -> Any:
    defaults: dict[str, Any] = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 4,
        "transformer_layers_per_block": 1,
        "projection_class_embeddings_input_dim": 6 * 4 + WIDTH,
        "cross_attention_dim": 2 * WIDTH,
        "use_linear_projection": True,
    }
    return _unet(**defaults | config)


def _sdxl_parts() -> dict[str, Any]:
    return {
        "vae": kl_autoencoder(),
        "text_encoder": clip(),
        "text_encoder_2": clip(CLIPTextModelWithProjection),
        "tokenizer": tokenizer(),
        "tokenizer_2": tokenizer(),
        "unet": _sdxl_unet(),
        "scheduler": EulerDiscreteScheduler(beta_schedule="scaled_linear"),
        "add_watermarker": False,
    }


def sdxl() -> Any:
    """Stable Diffusion XL: two text encoders, size conditioning."""
    return quiet(StableDiffusionXLPipeline(**_sdxl_parts()))


def sdxl_pag() -> Any:
    """Stable Diffusion XL with perturbed attention guidance."""
    return quiet(StableDiffusionXLPAGPipeline(**_sdxl_parts(), pag_applied_layers=["mid"]))


def sdxl_refiner() -> Any:
    """The refiner of Stable Diffusion XL: one text encoder, and an aesthetic score in the place of a size."""
    unet = _sdxl_unet(projection_class_embeddings_input_dim=5 * 4 + WIDTH, cross_attention_dim=WIDTH)
    own = {"text_encoder": None, "tokenizer": None, "unet": unet, "requires_aesthetics_score": True}
    return quiet(StableDiffusionXLImg2ImgPipeline(**_sdxl_parts() | own))


def sdxl_instruct() -> Any:
    """InstructPix2Pix of Stable Diffusion XL."""
    return quiet(StableDiffusionXLInstructPix2PixPipeline(**_sdxl_parts() | {"unet": _sdxl_unet(in_channels=8)}))
