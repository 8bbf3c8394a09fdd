"""The architectures of SD 1.5, SDXL, SD3, Flux and Qwen-Image as they were published.

Sources: the `config.json` of every component, and `scheduler_config.json`, of stable-diffusion-v1-5,
stabilityai/stable-diffusion-xl-base-1.0, stabilityai/stable-diffusion-3-medium-diffusers, black-forest-labs/FLUX.1-dev
and Qwen/Qwen-Image on the Hugging Face hub. A test compares numbers of parameters with the published ones.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from diffusers import (
    AutoencoderKL,
    AutoencoderKLQwenImage,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PNDMScheduler,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Qwen2_5_VLForConditionalGeneration,
    T5EncoderModel,
)

from imagegen.pipelines.random_checkpoint.architecture import Architecture, Network
from imagegen.pipelines.random_checkpoint.tokenizers import clip_tokenizer, qwen_tokenizer, t5_tokenizer

_UNET_DEPTHS = ("layers_per_block",)
_CLIP_DEPTHS = ("num_hidden_layers",)

_CLIP: dict[str, Any] = {
    "vocab_size": 49408,
    "max_position_embeddings": 77,
    "bos_token_id": 49406,
    "eos_token_id": 49407,
    "pad_token_id": 1,
}
_CLIP_L = _CLIP | {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
}
_CLIP_BIG_G = _CLIP | {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
    "hidden_act": "gelu",
}
_T5_XXL: dict[str, Any] = {
    "vocab_size": 32128,  # 100 of them beyond the tokenizer's: 32,000 pieces, 100 sentinels
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False,
}
_QWEN_VL: dict[str, Any] = {  # Qwen2.5-VL, 7B
    "tie_word_embeddings": False,
    "text_config": {
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "max_position_embeddings": 128000,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [16, 24, 24]},
    },
    "vision_config": {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "out_hidden_size": 3584,
    },
}

_VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "sample_size": 512,
    "scaling_factor": 0.18215,
}
_SDXL_VAE = _VAE | {"sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True}
_VAE_16 = _VAE | {"sample_size": 1024, "latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}

_SD15_UNET: dict[str, Any] = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,  # heads, in spite of its name
}
_SDXL_UNET: dict[str, Any] = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 2,
    "transformer_layers_per_block": (1, 2, 10),
    "cross_attention_dim": 2048,
    "attention_head_dim": (5, 10, 20),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
_SD3_TRANSFORMER: dict[str, Any] = {
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 24,
    "attention_head_dim": 64,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 192,
}
_FLUX_TRANSFORMER: dict[str, Any] = {
    "patch_size": 1,
    "in_channels": 64,
    "num_layers": 19,
    "num_single_layers": 38,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "pooled_projection_dim": 768,
    "guidance_embeds": True,
    "axes_dims_rope": (16, 56, 56),
}
_QWEN_TRANSFORMER: dict[str, Any] = {
    "patch_size": 2,
    "in_channels": 64,
    "out_channels": 16,
    "num_layers": 60,
    "attention_head_dim": 128,
    "num_attention_heads": 24,
    "joint_attention_dim": 3584,
    "axes_dims_rope": (16, 56, 56),
}

_BETAS: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
_CLIP_TOKENIZER = partial(clip_tokenizer, 49408)
_CLIP_TOKENIZER_2 = partial(clip_tokenizer, 49408, pad_token="!")

_CLIP_L_TEXT = Network(CLIPTextModel, _CLIP_L, _CLIP_DEPTHS)
_T5 = Network(T5EncoderModel, _T5_XXL, ("num_layers",))

ARCHITECTURES: dict[str, Architecture] = {
    "sd15": Architecture(
        pipeline=StableDiffusionPipeline,
        networks={
            "text_encoder": _CLIP_L_TEXT,
            "unet": Network(UNet2DConditionModel, _SD15_UNET, _UNET_DEPTHS),
            "vae": Network(AutoencoderKL, _VAE),
        },
        tokenizers={"tokenizer": _CLIP_TOKENIZER},
        scheduler=partial(PNDMScheduler, **_BETAS, skip_prk_steps=True, set_alpha_to_one=False),
        options={"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False},
    ),
    "sdxl": Architecture(
        pipeline=StableDiffusionXLPipeline,
        networks={
            "text_encoder": _CLIP_L_TEXT,
            "text_encoder_2": Network(CLIPTextModelWithProjection, _CLIP_BIG_G, _CLIP_DEPTHS),
            "unet": Network(UNet2DConditionModel, _SDXL_UNET, (*_UNET_DEPTHS, "transformer_layers_per_block")),
            "vae": Network(AutoencoderKL, _SDXL_VAE),
        },
        tokenizers={"tokenizer": _CLIP_TOKENIZER, "tokenizer_2": _CLIP_TOKENIZER_2},
        scheduler=partial(EulerDiscreteScheduler, **_BETAS, timestep_spacing="leading"),
        options={"add_watermarker": False},
    ),
    "sd3": Architecture(
        pipeline=StableDiffusion3Pipeline,
        networks={
            "text_encoder": Network(CLIPTextModelWithProjection, _CLIP_L, _CLIP_DEPTHS),
            "text_encoder_2": Network(CLIPTextModelWithProjection, _CLIP_BIG_G, _CLIP_DEPTHS),
            "text_encoder_3": _T5,
            "transformer": Network(SD3Transformer2DModel, _SD3_TRANSFORMER, ("num_layers",)),
            "vae": Network(AutoencoderKL, _VAE_16 | {"scaling_factor": 1.5305, "shift_factor": 0.0609}),
        },
        tokenizers={
            "tokenizer": _CLIP_TOKENIZER,
            "tokenizer_2": _CLIP_TOKENIZER_2,
            "tokenizer_3": partial(t5_tokenizer, 32000),
        },
        scheduler=partial(FlowMatchEulerDiscreteScheduler, shift=3.0),
    ),
    "flux": Architecture(
        pipeline=FluxPipeline,
        networks={
            "text_encoder": _CLIP_L_TEXT,
            "text_encoder_2": _T5,
            "transformer": Network(FluxTransformer2DModel, _FLUX_TRANSFORMER, ("num_layers", "num_single_layers")),
            "vae": Network(AutoencoderKL, _VAE_16 | {"scaling_factor": 0.3611, "shift_factor": 0.1159}),
        },
        tokenizers={"tokenizer": _CLIP_TOKENIZER, "tokenizer_2": partial(t5_tokenizer, 32000)},
        scheduler=partial(FlowMatchEulerDiscreteScheduler, shift=3.0, use_dynamic_shifting=True),
    ),
    "qwen-image": Architecture(
        pipeline=QwenImagePipeline,
        networks={
            "text_encoder": Network(
                Qwen2_5_VLForConditionalGeneration,
                _QWEN_VL,
                ("text_config.num_hidden_layers", "vision_config.depth"),
            ),
            "transformer": Network(QwenImageTransformer2DModel, _QWEN_TRANSFORMER, ("num_layers",)),
            "vae": Network(AutoencoderKLQwenImage, {}),  # the defaults are the published ones
        },
        tokenizers={"tokenizer": partial(qwen_tokenizer, 151643)},
        scheduler=partial(
            FlowMatchEulerDiscreteScheduler,
            base_shift=0.5,
            max_shift=0.9,
            max_image_seq_len=8192,
            shift_terminal=0.02,
            use_dynamic_shifting=True,
        ),
    ),
}
"""By the name that `imagegen random-checkpoint` knows them by."""
