"""Tiny checkpoints of several families, and one that is no image model but has its denoiser's shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel

from tests.unit import tiny_pipelines as tiny
from tests.unit.tiny_pipelines.parts import WIDTH, seeded, t5, tokenizer

ROWS, CONTEXT = "rows", "context"


def _four_heads(pipeline: Any) -> Any:
    """A pipeline with another transformer, the heads of which four ranks can share."""
    kind, config = type(pipeline.transformer), dict(pipeline.transformer.config)
    made = seeded(
        kind, **{name: value for name, value in config.items() if name[0] != "_"} | {"num_attention_heads": 4}
    )
    pipeline.register_modules(transformer=made)
    return pipeline


FAMILIES: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "sd": (tiny.sd, (ROWS,)),
    "sdxl": (tiny.sdxl, (ROWS,)),
    "flux": (lambda: _four_heads(tiny.flux()), (ROWS, CONTEXT)),
    "qwen-image": (lambda: _four_heads(tiny.qwen_image()), (ROWS, CONTEXT)),
}
"""Pipelines by name, and how their forwards can be shared."""


def wan() -> Any:
    """Wan 2.1: its pipeline makes videos and is not served, its denoiser's latents are [B, C, F, H, W]."""
    transformer = seeded(
        WanTransformer3DModel,
        patch_size=(1, 2, 2),
        num_attention_heads=4,
        attention_head_dim=12,
        in_channels=16,
        out_channels=16,
        text_dim=WIDTH,
        freq_dim=256,
        ffn_dim=32,
        num_layers=2,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=32,
    )
    vae = seeded(
        AutoencoderKLWan,
        base_dim=3,
        z_dim=16,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        temperal_downsample=[False, True, True],
    )
    return WanPipeline(
        transformer=transformer,
        vae=vae,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        text_encoder=t5(),
        tokenizer=tokenizer(),
    )
