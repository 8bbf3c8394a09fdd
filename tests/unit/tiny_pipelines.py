"""Pipelines of many families with tiny random weights, built in memory: no files, no network, a second or less each."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLQwenImage,
    ControlNetModel,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
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
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionPAGPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)

SIDE_PX = 32
WIDTH = 16  # of every text embedding
WORDS = [
    *("a", "red", "green", "blue", "small", "large", "cat", "dog", "boat", "tree", "house"),
    *("on", "under", "by", "the", "sea", "at", "night"),
]
_SPECIAL = ["<pad>", "<bos>", "<eos>", "<unk>"]
_VOCABULARY = {word: number for number, word in enumerate(_SPECIAL + WORDS)}
_TEXT_TOKENS = 16


def tokenizer(length: int = _TEXT_TOKENS) -> Any:
    """One token a word or punctuation mark; `<bos> words <eos>`."""
    backend = Tokenizer(WordLevel(dict(_VOCABULARY), unk_token="<unk>"))
    backend.pre_tokenizer = Whitespace()
    backend.post_processor = TemplateProcessing(single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)])
    special = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}
    tokenizer_type: Any = PreTrainedTokenizerFast
    made = tokenizer_type(tokenizer_object=backend, model_max_length=length, **special)
    made.padding_side = "right"
    made.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    return made


def _seeded(model_type: Any, /, **config: Any) -> Any:
    """A model with the same random weights every time, and none of them zero: zeros would hide mistakes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model_type(**config).eval()
        for parameter in model.parameters():
            if parameter.ndim > 1 and not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
    return model


def _clip(model_type: Any = CLIPTextModel) -> Any:
    return _seeded(
        model_type,
        config=CLIPTextConfig(
            vocab_size=len(_VOCABULARY),
            hidden_size=WIDTH,
            intermediate_size=WIDTH,
            projection_dim=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=_TEXT_TOKENS,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        ),
    )


def _t5() -> Any:
    config = T5Config(
        vocab_size=len(_VOCABULARY), d_model=WIDTH, d_kv=8, d_ff=WIDTH, num_layers=1, num_heads=2, pad_token_id=0
    )
    return _seeded(T5EncoderModel, config=config)


def _decoder_text_model(model_type: Any, config_type: Any) -> Any:
    config = config_type(
        vocab_size=len(_VOCABULARY),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return _seeded(model_type, config=config)


def _kl(channels: int = 4) -> Any:
    return _seeded(
        AutoencoderKL,
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=channels,
        norm_num_groups=2,
        sample_size=SIDE_PX,
        shift_factor=0.1,
        scaling_factor=0.6,
        use_quant_conv=True,
        use_post_quant_conv=True,
    )


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
    return _seeded(UNet2DConditionModel, **defaults | config)


def _quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _ddim() -> Any:
    return DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1, set_alpha_to_one=False)


def _sd_parts() -> dict[str, Any]:
    return {
        "vae": _kl(),
        "text_encoder": _clip(),
        "tokenizer": tokenizer(),
        "unet": _unet(),
        "scheduler": _ddim(),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


def sd() -> Any:
    """Stable Diffusion 1.5, text-to-image."""
    return _quiet(StableDiffusionPipeline(**_sd_parts()))


def sd_image_to_image() -> Any:
    """Stable Diffusion 1.5, image-to-image."""
    return _quiet(StableDiffusionImg2ImgPipeline(**_sd_parts()))


def sd_inpainting(channels: int = 4) -> Any:
    """Stable Diffusion 1.5 inpainting with a plain UNet (4 channels) or one that sees the mask (9)."""
    parts = _sd_parts()
    return _quiet(StableDiffusionInpaintPipeline(**parts | {"unet": _unet(in_channels=channels)}))


def sd_pag() -> Any:
    """Stable Diffusion 1.5 with perturbed attention guidance, which swaps the UNet's attention processors."""
    return _quiet(StableDiffusionPAGPipeline(**_sd_parts(), pag_applied_layers=["mid"]))


def sd_controlnet() -> Any:
    """Stable Diffusion 1.5 with a ControlNet."""
    controlnet = _seeded(
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
    return _quiet(StableDiffusionControlNetPipeline(**_sd_parts(), controlnet=controlnet))


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
    return _quiet(
        StableDiffusionXLPipeline(
            vae=_kl(),
            text_encoder=_clip(),
            text_encoder_2=_clip(CLIPTextModelWithProjection),
            tokenizer=tokenizer(),
            tokenizer_2=tokenizer(),
            unet=unet,
            scheduler=EulerDiscreteScheduler(beta_schedule="scaled_linear"),
            add_watermarker=False,
        )
    )


def sd3() -> Any:
    """Stable Diffusion 3."""
    transformer = _seeded(
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
        vocab_size=len(_VOCABULARY), d_model=2 * WIDTH, d_kv=8, d_ff=WIDTH, num_layers=1, num_heads=2, pad_token_id=0
    )
    return _quiet(
        StableDiffusion3Pipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=_kl(16),
            text_encoder=_clip(CLIPTextModelWithProjection),
            tokenizer=tokenizer(),
            text_encoder_2=_clip(CLIPTextModelWithProjection),
            tokenizer_2=tokenizer(),
            text_encoder_3=_seeded(T5EncoderModel, config=t5_wide),
            tokenizer_3=tokenizer(),
        )
    )


def flux(guidance_embeds: bool = True) -> Any:
    """Flux with distilled guidance (dev) or without (schnell)."""
    transformer = _seeded(
        FluxTransformer2DModel,
        in_channels=16,
        num_layers=2,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=guidance_embeds,
        axes_dims_rope=(4, 2, 2),
    )
    return _quiet(
        FluxPipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
            vae=_kl(),
            text_encoder=_clip(),
            tokenizer=tokenizer(),
            text_encoder_2=_t5(),
            tokenizer_2=tokenizer(),
        )
    )


def pixart_sigma() -> Any:
    """PixArt-Sigma, with its usual multistep scheduler."""
    transformer = _seeded(
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
    return _quiet(
        PixArtSigmaPipeline(
            transformer=transformer,
            scheduler=DPMSolverMultistepScheduler(),
            vae=_kl(),
            text_encoder=_t5(),
            tokenizer=tokenizer(),
        )
    )


def sana() -> Any:
    """Sana with its deep-compression autoencoder."""
    transformer = _seeded(
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
    vae = _seeded(
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
    return _quiet(
        SanaPipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=vae,
            text_encoder=_decoder_text_model(Gemma2Model, Gemma2Config),
            tokenizer=tokenizer(),
        )
    )


def lumina2() -> Any:
    """Lumina 2: two transformer calls a step with guidance."""
    transformer = _seeded(
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
    return _quiet(
        Lumina2Pipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=_kl(),
            text_encoder=_decoder_text_model(Gemma2Model, Gemma2Config),
            tokenizer=tokenizer(),
        )
    )


def qwen_image() -> Any:
    """Qwen-Image: two transformer calls a step with guidance, text of the prompt's own length."""
    transformer = _seeded(
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
    vae = _seeded(
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
            "vocab_size": len(_VOCABULARY),
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
    return _quiet(
        QwenImagePipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
            vae=vae,
            text_encoder=_seeded(Qwen2_5_VLForConditionalGeneration, config=config),
            tokenizer=tokenizer(length=128),
        )
    )


def z_image() -> Any:
    """Z-Image: lists of per-image tensors."""
    transformer = _seeded(
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
    return _quiet(
        ZImagePipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
            vae=_kl(),
            text_encoder=_decoder_text_model(Qwen3Model, Qwen3Config),
            tokenizer=tokenizer(),
        )
    )
