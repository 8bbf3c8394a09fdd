"""Where diffusers pipelines keep the modules that they call at every step."""

from __future__ import annotations

from typing import Any

import torch

DENOISERS = ("unet", "transformer", "transformer_2", "controlnet", "prior", "decoder")
"""Attributes of a pipeline; most have one or two of them."""


def denoisers_of(pipeline: Any) -> dict[str, torch.nn.Module]:
    """The denoisers of a pipeline by name, itself or what has its attributes."""
    modules = {name: getattr(pipeline, name, None) for name in DENOISERS}
    return {name: module for name, module in modules.items() if isinstance(module, torch.nn.Module)}
