"""Whole pipelines in published shapes with random weights, made where they are to run: no files, no downloads."""

from __future__ import annotations

from typing import Any

import torch

from imagegen.pipelines.random_checkpoint.architecture import Architecture
from imagegen.pipelines.random_checkpoint.weights import value_range


def made_pipeline(architecture: Architecture, device: torch.device, dtype: torch.dtype) -> Any:
    """The pipeline of a model.

    Args:
        architecture: the model.
        device: where its weights are made.
        dtype: of them.
    """
    networks = {name: one.build() for name, one in architecture.networks.items()}
    for network in networks.values():
        fill(network, device, dtype)
    tokenizers = {name: make() for name, make in architecture.tokenizers.items()}
    scheduler = architecture.scheduler()
    pipeline = architecture.pipeline(**networks, **tokenizers, scheduler=scheduler, **architecture.options)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def fill(network: torch.nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Give a network on the device `meta` random weights that keep activations in range; buffers only move."""
    generator = torch.Generator(device).manual_seed(0)
    made: dict[int, torch.nn.Parameter] = {}  # what is shared stays shared
    for owner in network.modules():
        for name, parameter in owner._parameters.items():
            if parameter is None:
                continue
            if id(parameter) not in made:
                low, high = value_range(owner, name, parameter.shape)
                value = torch.full(parameter.shape, low, device=device, dtype=dtype)
                if low != high:
                    value.uniform_(low, high, generator=generator)
                made[id(parameter)] = torch.nn.Parameter(value, requires_grad=False)
            owner._parameters[name] = made[id(parameter)]
        for name, buffer in owner._buffers.items():
            owner._buffers[name] = None if buffer is None else buffer.to(device)
