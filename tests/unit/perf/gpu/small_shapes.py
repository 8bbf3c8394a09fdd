"""The architectures of `perf.gpu.shapes`, scaled down: to run the code where there is no GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from perf.gpu.shapes import SHAPES, Inputs, Shape, flux_inputs, sd_inputs, sdxl_inputs


def _small(name: str, config: Mapping[str, Any], inputs: Inputs) -> Shape:
    shape = SHAPES[name]
    vae = {**shape.vae, "block_out_channels": (8, 8, 16, 16), "norm_num_groups": 8}
    return replace(shape, config={**shape.config, **config}, inputs=inputs, vae=vae)


SMALL_SHAPES = {
    "SD 1.5": _small(
        "SD 1.5",
        {"block_out_channels": (16, 16, 32, 32), "cross_attention_dim": 16, "norm_num_groups": 8},
        sd_inputs(16),
    ),
    "SDXL": _small(
        "SDXL",
        {
            "block_out_channels": (16, 32, 64),
            "transformer_layers_per_block": (1, 1, 2),
            "attention_head_dim": (2, 2, 4),
            "cross_attention_dim": 16,
            "norm_num_groups": 8,
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 16 + 6 * 8,
        },
        sdxl_inputs(16, 16),
    ),
    "Flux": _small(
        "Flux",
        {
            "num_layers": 1,
            "num_single_layers": 2,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "joint_attention_dim": 16,
            "pooled_projection_dim": 16,
            "axes_dims_rope": (4, 6, 6),
        },
        flux_inputs(64, 16, 16, 8),
    ),
}
