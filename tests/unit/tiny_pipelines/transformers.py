"""Tiny pipelines whose denoiser is a transformer."""

from __future__ import annotations

from typing import Any

from diffusers import (
    AutoencoderDC,
    AutoencoderKLQwenImage,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import (
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)

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


def sd3() -> Any:
    """Stable Diffusion 3."""
    transformer = seeded(
        SD3Transformer2DModel,
        sample_size=SIDE_PX // 2,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=2 * WIDTH,
        caption_projection_dim=16,
        pooled_projection_dim=2 * WIDTH,
        pos_embed_max_size=16,
    )
    t5_wide = T5Config(
        vocab_size=len(VOCABULARY), d_model=2 * WIDTH, d_kv=8, d_ff=WIDTH, num_layers=1, num_heads=2, pad_token_id=0
    )
    return quiet(
        StableDiffusion3Pipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=kl_autoencoder(16),
            text_encoder=clip(CLIPTextModelWithProjection),
            tokenizer=tokenizer(),
            text_encoder_2=clip(CLIPTextModelWithProjection),
            tokenizer_2=tokenizer(),
            text_encoder_3=seeded(T5EncoderModel, config=t5_wide),
            tokenizer_3=tokenizer(),
        )
    )


def flux(guidance_embeds: bool = True, kind: Any = FluxPipeline, double_blocks: int = 2) -> Any:
    """Flux with distilled guidance (dev) or without (schnell)."""
    transformer = seeded(
        FluxTransformer2DModel,
        in_channels=16,
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


def pixart_sigma() -> Any:
    """PixArt-Sigma, with its usual multistep scheduler."""
    transformer = seeded(
        PixArtTransformer2DModel,
        sample_size=SIDE_PX // 2,
        num_layers=2,
        patch_size=2,
        attention_head_dim=8,
        num_attention_heads=2,
        in_channels=4,
        out_channels=8,
        cross_attention_dim=16,
        caption_channels=WIDTH,
        norm_type="ada_norm_single",
        use_additional_conditions=False,
    )
    return quiet(
        PixArtSigmaPipeline(
            transformer=transformer,
            scheduler=DPMSolverMultistepScheduler(),
            vae=kl_autoencoder(),
            text_encoder=t5(),
            tokenizer=tokenizer(),
        )
    )


def sana() -> Any:
    """Sana with its deep-compression autoencoder."""
    transformer = seeded(
        SanaTransformer2DModel,
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=8,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=WIDTH,
        sample_size=SIDE_PX // 4,
    )
    vae = seeded(
        AutoencoderDC,
        in_channels=3,
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=("ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "EfficientViTBlock"),
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        upsample_block_type="interpolate",
        downsample_block_type="stride_conv",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
    )
    return quiet(
        SanaPipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=vae,
            text_encoder=decoder_text_model(Gemma2Model, Gemma2Config),
            tokenizer=tokenizer(),
        )
    )


def lumina2() -> Any:
    """Lumina 2: two transformer calls a step with guidance."""
    transformer = seeded(
        Lumina2Transformer2DModel,
        sample_size=SIDE_PX // 2,
        patch_size=2,
        in_channels=4,
        hidden_size=16,
        num_layers=1,
        num_refiner_layers=1,
        num_attention_heads=2,
        num_kv_heads=1,
        multiple_of=16,
        cap_feat_dim=WIDTH,
        axes_dim_rope=(4, 2, 2),
        axes_lens=(300, 32, 32),
    )
    return quiet(
        Lumina2Pipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=kl_autoencoder(),
            text_encoder=decoder_text_model(Gemma2Model, Gemma2Config),
            tokenizer=tokenizer(),
        )
    )


def qwen_image() -> Any:
    """Qwen-Image: two transformer calls a step with guidance, text of the prompt's own length."""
    transformer = seeded(
        QwenImageTransformer2DModel,
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        axes_dims_rope=(4, 2, 2),
    )
    vae = seeded(
        AutoencoderKLQwenImage,
        base_dim=8,
        z_dim=4,
        dim_mult=[1, 1],
        num_res_blocks=1,
        temperal_downsample=[False],
        latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(VOCABULARY),
            "hidden_size": WIDTH,
            "intermediate_size": WIDTH,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
        vision_config={
            "depth": 1,
            "hidden_size": WIDTH,
            "intermediate_size": WIDTH,
            "num_heads": 2,
            "out_hidden_size": WIDTH,
        },
    )
    return quiet(
        QwenImagePipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
            vae=vae,
            text_encoder=seeded(Qwen2_5_VLForConditionalGeneration, config=config),
            tokenizer=tokenizer(length=128),
        )
    )


def z_image() -> Any:
    """Z-Image: lists of per-image tensors."""
    transformer = seeded(
        ZImageTransformer2DModel,
        in_channels=4,
        dim=16,
        n_layers=1,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=WIDTH,
        axes_dims=[4, 2, 2],
        axes_lens=[256, 32, 32],
    )
    return quiet(
        ZImagePipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=kl_autoencoder(),
            text_encoder=decoder_text_model(Qwen3Model, Qwen3Config),
            tokenizer=tokenizer(),
        )
    )
