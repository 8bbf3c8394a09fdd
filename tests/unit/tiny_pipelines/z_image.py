"""Tiny pipelines of Z-Image: lists of per-image tensors."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, ZImageOmniPipeline, ZImagePipeline, ZImageTransformer2DModel
from transformers import Qwen3Config, Qwen3Model, Siglip2ImageProcessorPil, Siglip2VisionConfig, Siglip2VisionModel

from tests.unit.tiny_pipelines.parts import WIDTH, decoder_text_model, kl_autoencoder, quiet, seeded, tokenizer


def z_image() -> Any:
    """Z-Image."""
    return quiet(ZImagePipeline(**_parts()))


def z_image_omni() -> Any:
    """Z-Image-Omni: any number of references, which a vision model reads too."""
    parts = _parts(siglip_feat_dim=WIDTH)
    parts["vae"] = parts["vae"].to(torch.bfloat16)  # the pipeline encodes references in it, whatever the VAE has
    config = Siglip2VisionConfig(
        hidden_size=WIDTH, intermediate_size=WIDTH, num_hidden_layers=1, num_attention_heads=2, num_patches=16
    )
    siglip = seeded(Siglip2VisionModel, config=config)
    processor = Siglip2ImageProcessorPil(max_num_patches=16)
    return quiet(ZImageOmniPipeline(**parts, siglip=siglip, siglip_processor=processor))


def _parts(**config: Any) -> dict[str, Any]:
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
        axes_lens=[1024, 64, 64],
        **config,
    )
    return {
        "transformer": transformer,
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0),
        "vae": kl_autoencoder(),
        "text_encoder": decoder_text_model(Qwen3Model, Qwen3Config),
        "tokenizer": tokenizer(),
    }
