"""Toy modules whose calls merge, and ways to compare what they give."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

from imagegen.engine.collate import DenoiserCall, describe

PIXELS = 64


class Denoiser(nn.Module):
    """Row-wise: each row of the output depends on that row of every input only. Counts its forwards."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(
        self,
        sample: Tensor,
        timestep: Any,
        encoder_hidden_states: Tensor | None = None,
        added_cond_kwargs: dict[str, Any] | None = None,
        down_block_additional_residuals: Any = None,
        img_ids: Tensor | None = None,
        cross_attention_kwargs: dict[str, Any] | None = None,
        guidance: Tensor | None = None,
        extra: Any = None,
        return_dict: bool = True,
    ) -> Any:
        self.shapes.append(tuple(sample.shape))
        timestep = torch.as_tensor(timestep, dtype=torch.float32).reshape(-1).expand(sample.shape[0])
        row = timestep.clone()
        if encoder_hidden_states is not None:
            row = row + encoder_hidden_states.flatten(1).sum(1)
        for value in (added_cond_kwargs or {}).values():
            row = row if value is None else row + value.flatten(1).sum(1)
        for residual in down_block_additional_residuals or ():
            row = row + residual.flatten(1).sum(1)
        if img_ids is not None:
            row = row + img_ids.sum()
        if guidance is not None:
            row = row * guidance.expand(sample.shape[0])
        if isinstance(extra, Tensor) and extra.ndim:
            row = row + extra.flatten(1).sum(1)
        scale = (cross_attention_kwargs or {}).get("scale", 1.0)
        output = scale * sample + row.reshape(-1, *[1] * (sample.ndim - 1))
        return Output(sample=output) if return_dict else (output,)


@dataclass
class Output(OrderedDict):  # type: ignore[type-arg]
    """Shaped like a diffusers output: an ordered dict that is a dataclass."""

    sample: Tensor

    def __post_init__(self) -> None:
        self["sample"] = self.sample


class Transformer(nn.Module):
    """Works on lists of per-image tensors, as Z-Image does."""

    def forward(self, x: list[Tensor], t: Tensor, cap_feats: list[Tensor], return_dict: bool = True) -> Any:
        outputs = [sample * time + cap.sum() for sample, time, cap in zip(x, t, cap_feats, strict=True)]
        return (outputs,)


class ControlNet(nn.Module):
    """Gives back a list of batched tensors and one more."""

    def forward(self, sample: Tensor, timestep: Any, conditioning_scale: float = 1.0) -> Any:
        return [sample * conditioning_scale, sample.flatten(1)], sample.mean(1)


DENOISER = Denoiser()


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Small integers, so that sums are exact in any order."""
    return torch.randint(-8, 9, shape, generator=torch.Generator().manual_seed(seed)).float()


def call_of(module: nn.Module, *args: Any, **kwargs: Any) -> DenoiserCall:
    return describe(module, args, kwargs, PIXELS)


def merges(*calls: DenoiserCall) -> bool:
    return all(a.batch_key == b.batch_key for a, b in combinations(calls, 2))


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return type(a) is type(b) and a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
