"""What single model families need so that their calls can share a forward.

The tables go by class name of the denoiser: the classes themselves need not be imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn.functional import pad

Arguments = dict[str, Any]

QWEN_TEXT_BUCKET = 64  # tokens; a prompt of 1..64 tokens is padded to 64, of 65..128 to 128, ...

# Samples of a list that the model pads by itself: those that it pads to one length count as of one length.
# Z-Image pads each caption to a multiple of SEQ_MULTI_OF = 32 tokens (diffusers, transformer_z_image.py). Captions
# of several padded lengths in one forward would need an attention mask, without which it is faster and a row's
# bits do not depend on its neighbours.
SAMPLE_LENGTH_MULTIPLE: dict[tuple[str, str], int] = {
    ("ZImageTransformer2DModel", "cap_feats"): 32,
    ("ZImageControlNetModel", "cap_feats"): 32,
}

NEGATED = {
    "HiDreamImageTransformer2DModel",
    "Lumina2Transformer2DModel",
    "LuminaNextDiT2DModel",
    "NucleusMoEImageTransformer2DModel",
    "ZImageTransformer2DModel",
}
"""Denoisers whose pipelines take the output with the sign turned."""


def pad_qwen_text(arguments: Arguments) -> Arguments:
    """Right-pad the text to a bucket, with an explicit mask, so that prompts of different lengths share a forward.

    Rope positions of the text do not depend on its length, and the mask keeps attention off the padding: the
    result is the same.

    Args:
        arguments: with `encoder_hidden_states` [B, L, D] and maybe `encoder_hidden_states_mask` [B, L] (any dtype;
            non-zero is a token) or None for "all of it".

    Returns:
        the arguments with both of them of length ceil(L / 64) * 64, the mask boolean.
    """
    text = arguments.get("encoder_hidden_states")
    if not isinstance(text, torch.Tensor) or text.ndim != 3:
        return arguments
    mask = arguments.get("encoder_hidden_states_mask")
    if mask is None:
        mask = torch.ones(text.shape[:2], dtype=torch.bool, device=text.device)
    missing = -text.shape[1] % QWEN_TEXT_BUCKET
    return arguments | {
        "encoder_hidden_states": pad(text, (0, 0, 0, missing)),
        "encoder_hidden_states_mask": pad(mask.to(torch.bool), (0, missing)),
    }


def as_tuple(arguments: Arguments) -> Arguments:
    """Ask for a tuple: some pipelines of a model do and others do not, and all take its first element alone."""
    return arguments | {"return_dict": False}


SAME_AT_EVERY_STEP = {"Flux2Transformer2DModel": ("img_ids",)}
"""Arguments that a pipeline makes anew at each step, although of one shape they are the same for an image."""

SCALE_DIMENSIONS = {
    "ControlNetModel": 4,
    "ControlNetUnionModel": 4,
    "FluxControlNetModel": 3,
    "QwenImageControlNetModel": 3,
    "SD3ControlNetModel": 3,
    "ZImageControlNetModel": 3,
}
"""Dimensions of what a control network multiplies by its `conditioning_scale`, which then may be one value a row."""

PREPARE: dict[str, Callable[[Arguments], Arguments]] = {
    "QwenImageTransformer2DModel": pad_qwen_text,
    "QwenImageControlNetModel": pad_qwen_text,
    "ZImageTransformer2DModel": as_tuple,
}
