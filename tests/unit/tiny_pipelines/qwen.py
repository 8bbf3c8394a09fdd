"""Tiny pipelines of Qwen-Image, which edits too."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    QwenImageEditPipeline,
    QwenImageEditPlusPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
)
from transformers import BatchFeature, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

from tests.unit.tiny_pipelines.parts import VOCABULARY, WIDTH, quiet, seeded, tokenizer

_IMAGE = "<|image_pad|>"
_IMAGE_TOKENS = ("<|vision_start|>", "<|vision_end|>", _IMAGE, "<|video_pad|>")


class _Processor:
    """The processor of Qwen2-VL for text and images; the real one needs a package for videos."""

    def __init__(self) -> None:
        self.tokenizer = _tokenizer()
        self.images = Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=56 * 56)

    def __call__(self, text: list[str], images: Any = None, padding: bool = True, return_tensors: str = "pt") -> Any:
        """A token for each four patches of the images, in the place of each mark."""
        made: dict[str, Any] = {}
        if images is not None:
            made = dict(self.images(images=images, return_tensors=return_tensors))
            parts = text[0].split(_IMAGE)
            counts = [int(grid.prod()) // 4 for grid in made["image_grid_thw"]]
            text = ["".join(part + _IMAGE * count for part, count in zip(parts, [*counts, 0], strict=True))]
        tokens = self.tokenizer(text, padding=padding, return_tensors=return_tensors)
        kinds = (tokens["input_ids"] == self.tokenizer.convert_tokens_to_ids(_IMAGE)).to(torch.int64)
        return BatchFeature(data=made | dict(tokens) | {"mm_token_type_ids": kinds})


def _tokenizer() -> Any:
    made = tokenizer(length=512)
    made.add_special_tokens({"additional_special_tokens": list(_IMAGE_TOKENS)})
    return made


QWEN_SHAPE: dict[str, Any] = {
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 4,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "joint_attention_dim": WIDTH,
    "axes_dims_rope": (4, 2, 2),
}
"""Of the denoiser of Qwen-Image, and of networks that fit it."""


def qwen_image() -> Any:
    """Qwen-Image: two transformer calls a step with guidance, text of the prompt's own length."""
    return quiet(QwenImagePipeline(**_parts(), tokenizer=tokenizer(length=128)))


def qwen_edit() -> Any:
    """Qwen-Image-Edit: edits one image."""
    return quiet(QwenImageEditPipeline(**_parts(), tokenizer=_tokenizer(), processor=_Processor()))


def qwen_edit_plus() -> Any:
    """Qwen-Image-Edit-2509 and later: edits by several images."""
    return quiet(QwenImageEditPlusPipeline(**_parts(), tokenizer=_tokenizer(), processor=_Processor()))


def _parts() -> dict[str, Any]:
    transformer = seeded(QwenImageTransformer2DModel, **QWEN_SHAPE, num_layers=2)
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
            "vocab_size": len(VOCABULARY) + len(_IMAGE_TOKENS),
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
        vision_start_token_id=len(VOCABULARY),
        vision_end_token_id=len(VOCABULARY) + 1,
        image_token_id=len(VOCABULARY) + 2,
        video_token_id=len(VOCABULARY) + 3,
    )
    return {
        "transformer": transformer,
        "scheduler": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        "vae": vae,
        "text_encoder": seeded(Qwen2_5_VLForConditionalGeneration, config=config),
    }
