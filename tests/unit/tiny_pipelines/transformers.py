"""Tiny pipelines whose denoiser is a transformer."""

from __future__ import annotations

from typing import Any

from diffusers import (
    AutoencoderDC,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from transformers import (
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
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

SD3_SHAPE: dict[str, Any] = {
    "sample_size": SIDE_PX // 2,
    "patch_size": 2,
    "in_channels": 16,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "joint_attention_dim": 2 * WIDTH,
    "caption_projection_dim": 16,
    "pooled_projection_dim": 2 * WIDTH,
    "pos_embed_max_size": 32,
}
"""Of the denoiser of Stable Diffusion 3, and of networks that fit it."""


def sd3() -> Any:
    """Stable Diffusion 3."""
    transformer = seeded(SD3Transformer2DModel, **SD3_SHAPE, out_channels=16, num_layers=2)
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


def pixart_sigma(kind: Any = PixArtSigmaPipeline) -> Any:
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
        kind(
            transformer=transformer,
            scheduler=DPMSolverMultistepScheduler(),
            vae=kl_autoencoder(),
            text_encoder=t5(),
            tokenizer=tokenizer(),
        )
    )


def pixart_alpha() -> Any:
    """PixArt-Alpha; that of 512 pixels, whose transformer is told no size."""
    return pixart_sigma(PixArtAlphaPipeline)


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
            vae=kl_autoencoder(blocks=4),  # its pipeline knows none but the factor 8
            text_encoder=decoder_text_model(Gemma2Model, Gemma2Config),
            tokenizer=tokenizer(),
        )
    )
