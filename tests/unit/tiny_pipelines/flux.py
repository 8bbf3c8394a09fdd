"""Tiny pipelines of the Flux families."""

from __future__ import annotations

from typing import Any

from diffusers import (
    AutoencoderKLFlux2,
    ChromaPipeline,
    ChromaTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    FluxFillPipeline,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
)
from transformers import Mistral3Config, Mistral3ForConditionalGeneration, Qwen3Config, Qwen3ForCausalLM

from tests.unit.tiny_pipelines.parts import (
    SIDE_PX,
    VOCABULARY,
    WIDTH,
    clip,
    decoder_text_model,
    kl_autoencoder,
    quiet,
    seeded,
    t5,
    tokenizer,
)

_TEXT_LAYERS = 3  # of the text encoder, whose outputs are put side by side


def flux(guidance_embeds: bool = True, kind: Any = FluxPipeline, double_blocks: int = 2, channels: int = 16) -> Any:
    """Flux with distilled guidance (dev) or without (schnell)."""
    transformer = seeded(
        FluxTransformer2DModel,
        in_channels=channels,
        out_channels=16,
        num_layers=double_blocks,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=guidance_embeds,
        axes_dims_rope=(4, 2, 2),
    )
    return quiet(
        kind(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
            vae=kl_autoencoder(),
            text_encoder=clip(),
            tokenizer=tokenizer(),
            text_encoder_2=t5(),
            tokenizer_2=tokenizer(),
        )
    )


def flux_kontext() -> Any:
    """Flux Kontext: edits an image by instruction, and generates without one too."""
    return flux(kind=FluxKontextPipeline)


def flux_fill() -> Any:
    """Flux Fill: latents of the image and the mask lie beside those that are denoised."""
    return flux(kind=FluxFillPipeline, channels=3 * 16)


def chroma() -> Any:
    """Chroma: Flux of one text encoder, with guidance by a second call."""
    transformer = seeded(
        ChromaTransformer2DModel,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(4, 2, 2),
        approximator_num_channels=16,
        approximator_hidden_dim=16,
        approximator_layers=1,
    )
    return quiet(
        ChromaPipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=kl_autoencoder(),
            text_encoder=t5(),
            tokenizer=tokenizer(),
        )
    )


def flux2() -> Any:
    """FLUX.2: any number of references, and guidance that is an argument of the transformer."""
    text = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": WIDTH,
        "intermediate_size": WIDTH,
        "num_hidden_layers": 30,  # the pipeline reads the outputs of layers 10, 20 and 30
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "model_type": "mistral",
    }
    vision = {
        "hidden_size": WIDTH,
        "intermediate_size": WIDTH,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "head_dim": 8,
        "image_size": 28,
        "patch_size": 14,
        "model_type": "pixtral",
    }
    config = Mistral3Config(text_config=text, vision_config=vision, image_token_index=3)
    return _flux2(Flux2Pipeline, seeded(Mistral3ForConditionalGeneration, config=config))


def flux2_klein() -> Any:
    """FLUX.2 Klein: the small one, with guidance by a second call."""
    return _flux2(Flux2KleinPipeline, decoder_text_model(Qwen3ForCausalLM, Qwen3Config, layers=27))


def _flux2(kind: Any, text_encoder: Any) -> Any:
    transformer = seeded(
        Flux2Transformer2DModel,
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=_TEXT_LAYERS * WIDTH,
        timestep_guidance_channels=16,
        axes_dims_rope=(2, 2, 2, 2),
        guidance_embeds=kind is Flux2Pipeline,
    )
    vae = seeded(
        AutoencoderKLFlux2,
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=2,
        sample_size=SIDE_PX,
    )
    return quiet(
        kind(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
            vae=vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer(length=64),
        )
    )
