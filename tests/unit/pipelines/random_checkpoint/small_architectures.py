"""The published architectures with small widths: the same components, classes, schedulers and depths to cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from imagegen.pipelines.random_checkpoint.architecture import Architecture
from imagegen.pipelines.random_checkpoint.published import ARCHITECTURES
from imagegen.pipelines.random_checkpoint.tokenizers import clip_tokenizer, qwen_tokenizer, t5_tokenizer

_WIDTH = 32
_CLIP: dict[str, Any] = {
    "vocab_size": 600,
    "hidden_size": _WIDTH,
    "intermediate_size": 2 * _WIDTH,
    "num_attention_heads": 2,
    "projection_dim": _WIDTH,
    "bos_token_id": 598,
    "eos_token_id": 599,
}
_T5: dict[str, Any] = {"vocab_size": 528, "d_model": 2 * _WIDTH, "d_kv": 16, "d_ff": 2 * _WIDTH, "num_heads": 2}
_VAE: dict[str, Any] = {"block_out_channels": (8, 8, 16, 16), "norm_num_groups": 4}
_QWEN_VL: dict[str, Any] = {
    "text_config": {
        **ARCHITECTURES["qwen-image"].networks["text_encoder"].config["text_config"],
        "vocab_size": 640,
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0, "mrope_section": [4, 6, 6]},
        "bos_token_id": 600,
        "eos_token_id": 602,
    },
    "vision_config": {"depth": 3, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 64},
    "image_token_id": 612,
    "video_token_id": 613,
    "vision_start_token_id": 609,
    "vision_end_token_id": 610,
}
_SMALL: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "sd15": {
        "text_encoder": _CLIP,
        "unet": {
            "block_out_channels": (16, 32, 32, 32),
            "cross_attention_dim": _WIDTH,
            "attention_head_dim": 2,
            "norm_num_groups": 8,
        },
        "vae": _VAE,
    },
    "sdxl": {
        "text_encoder": _CLIP,
        "text_encoder_2": _CLIP,
        "unet": {
            "block_out_channels": (16, 32, 32),
            "cross_attention_dim": 2 * _WIDTH,
            "attention_head_dim": (1, 2, 2),
            "norm_num_groups": 8,
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": _WIDTH + 6 * 8,
        },
        "vae": _VAE,
    },
    "sd3": {
        "text_encoder": _CLIP,
        "text_encoder_2": _CLIP,
        "text_encoder_3": _T5,
        "transformer": {
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "joint_attention_dim": 2 * _WIDTH,
            "caption_projection_dim": 32,
            "pooled_projection_dim": 2 * _WIDTH,
            "pos_embed_max_size": 16,
        },
        "vae": _VAE,
    },
    "flux": {
        "text_encoder": _CLIP,
        "text_encoder_2": _T5,
        "transformer": {
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "joint_attention_dim": 2 * _WIDTH,
            "pooled_projection_dim": _WIDTH,
            "axes_dims_rope": (4, 6, 6),
        },
        "vae": _VAE,
    },
    "qwen-image": {
        "text_encoder": _QWEN_VL,
        "transformer": {
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "joint_attention_dim": 64,
            "axes_dims_rope": (4, 6, 6),
        },
        "vae": {"base_dim": 8},
    },
}
_TOKENIZERS: Mapping[str, Mapping[str, Callable[[], Any]]] = {
    "sd15": {"tokenizer": partial(clip_tokenizer, 600)},
    "sdxl": {"tokenizer": partial(clip_tokenizer, 600), "tokenizer_2": partial(clip_tokenizer, 600, pad_token="!")},
    "sd3": {
        "tokenizer": partial(clip_tokenizer, 600),
        "tokenizer_2": partial(clip_tokenizer, 600, pad_token="!"),
        "tokenizer_3": partial(t5_tokenizer, 400),
    },
    "flux": {"tokenizer": partial(clip_tokenizer, 600), "tokenizer_2": partial(t5_tokenizer, 400)},
    "qwen-image": {"tokenizer": partial(qwen_tokenizer, 600)},
}


def _small(name: str) -> Architecture:
    published = ARCHITECTURES[name]
    networks = {
        component: replace(network, config={**network.config, **_SMALL[name][component]})
        for component, network in published.networks.items()
    }
    return replace(published, networks=networks, tokenizers=_TOKENIZERS[name])


SMALL_ARCHITECTURES = {name: _small(name) for name in ARCHITECTURES}
