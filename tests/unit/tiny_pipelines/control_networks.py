"""Tiny networks for control images, whose weights change an image visibly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diffusers import (
    ControlNetModel,
    ControlNetUnionModel,
    FluxControlNetModel,
    QwenImageControlNetModel,
    SD3ControlNetModel,
    T2IAdapter,
    ZImageControlNetModel,
)

from tests.unit.tiny_pipelines.parts import WIDTH, seeded
from tests.unit.tiny_pipelines.qwen import QWEN_SHAPE
from tests.unit.tiny_pipelines.transformers import SD3_SHAPE

_UNET: dict[str, Any] = {
    "in_channels": 4,
    "block_out_channels": (8, 16),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "cross_attention_dim": WIDTH,
    "attention_head_dim": 2,
    "norm_num_groups": 2,
    "conditioning_embedding_out_channels": (8, 8),  # halves the image's sides once, as the tiny VAE does
}
_UNET_XL: dict[str, Any] = _UNET | {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 4,
    "transformer_layers_per_block": 1,
    "projection_class_embeddings_input_dim": 6 * 4 + WIDTH,
    "cross_attention_dim": 2 * WIDTH,
    "use_linear_projection": True,
}
_FLUX: dict[str, Any] = {
    "in_channels": 16,
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "joint_attention_dim": WIDTH,
    "pooled_projection_dim": WIDTH,
    "axes_dims_rope": (4, 2, 2),
}

_LAST = ("controlnet_down_blocks", "controlnet_mid_block", "controlnet_blocks", "after_proj", "block2")


def sd_net() -> Any:
    """Of Stable Diffusion 1.5."""
    return strong(seeded(ControlNetModel, **_UNET))


def sdxl_net() -> Any:
    """Of Stable Diffusion XL."""
    return strong(seeded(ControlNetModel, **_UNET_XL))


def sdxl_union() -> Any:
    """Of Stable Diffusion XL, for six types in one."""
    sizes = {"num_trans_channel": 8, "num_trans_head": 2, "num_trans_layer": 1, "num_proj_channel": 8}
    return strong(seeded(ControlNetUnionModel, **_UNET_XL, **sizes, num_control_type=6))


def flux_net(guidance_embeds: bool = True) -> Any:
    """Of Flux."""
    return strong(seeded(FluxControlNetModel, **_FLUX, guidance_embeds=guidance_embeds))


def flux_union(guidance_embeds: bool = True) -> Any:
    """Of Flux, for four types in one."""
    return strong(seeded(FluxControlNetModel, **_FLUX, guidance_embeds=guidance_embeds, num_mode=4))


def sd3_net() -> Any:
    """Of Stable Diffusion 3."""
    return strong(seeded(SD3ControlNetModel, **SD3_SHAPE, num_layers=1))


def qwen_net() -> Any:
    """Of Qwen-Image."""
    return strong(seeded(QwenImageControlNetModel, **QWEN_SHAPE, num_layers=1))


def z_image_net() -> Any:
    """Of Z-Image."""
    return strong(
        seeded(
            ZImageControlNetModel,
            control_layers_places=[0],
            control_refiner_layers_places=[0],
            control_in_dim=4,
            add_control_noise_refiner="control_noise_refiner",
            dim=16,
            n_refiner_layers=1,
            n_heads=2,
            n_kv_heads=2,
        )
    )


def sd_adapter() -> Any:
    """A T2I-Adapter of Stable Diffusion 1.5: its features are added to those of the UNet's blocks."""
    return adapter(adapter_type="full_adapter", downscale_factor=2)


def sdxl_adapter() -> Any:
    """A T2I-Adapter of Stable Diffusion XL."""
    return adapter(adapter_type="full_adapter_xl", downscale_factor=4)


def adapter(**config: Any) -> Any:
    """A T2I-Adapter of two blocks."""
    return strong(seeded(T2IAdapter, channels=[8, 16], num_res_blocks=1, **config))


def strong(network: Any, factor: float = 4.0) -> Any:
    """The network with what it hands over, and nothing else, made larger: of a tiny one it would hardly show."""
    for name, parameter in network.named_parameters():
        if any(part in name for part in _LAST):
            parameter.data.mul_(factor)
    return network


NETWORKS: dict[str, Callable[[], Any]] = {
    "sd": sd_net,
    "sd-adapter": sd_adapter,
    "sdxl": sdxl_net,
    "sdxl-union": sdxl_union,
    "sdxl-adapter": sdxl_adapter,
    "sd3": sd3_net,
    "flux": flux_net,
    "flux-union": flux_union,
    "qwen-image": qwen_net,
    "z-image": z_image_net,
}
"""All of them, by name."""
