"""The same adapter as other programs write it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

import torch

Tensors = dict[str, torch.Tensor]

_ATTENTION = re.compile(r"(?P<attention>.*attn\d)\.(?P<projection>to_q|to_k|to_v|to_out)(?:\.0)?")
_TEXT_PROJECTIONS = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}


def kohya(tensors: Mapping[str, torch.Tensor], prefixes: Mapping[str, str], alpha: Callable[[str], float]) -> Tensors:
    """As kohya's sd-scripts do, from PEFT's names.

    Args:
        tensors: `component.layer.lora_A.weight` and its other half.
        prefixes: what stands for each component.
        alpha: for each layer, by its name there.
    """
    made = {}
    for component, layer, half, tensor in _parts(tensors):
        name = prefixes[component] + layer.replace(".", "_")
        made[f"{name}.lora_{half}.weight"] = tensor
        made[f"{name}.alpha"] = torch.tensor(alpha(name))
    return made


def diffusers_processors(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """As diffusers did until 0.20: attention's layers by their processor, other ones with `lora`."""
    made = {}
    for component, layer, half, tensor in _parts(tensors):
        if component == "unet":
            found = _ATTENTION.fullmatch(layer)
            name = f"{found['attention']}.processor.{found['projection']}_lora" if found else f"{layer}.lora"
        else:
            parent, _, last = layer.rpartition(".")
            projection = _TEXT_PROJECTIONS.get(last)
            name = f"{parent}.{projection}_lora" if projection else f"{layer}.lora_linear_layer"
        made[f"{component}.{name}.{half}.weight"] = tensor
    return made


def diffusers_linear_layers(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """As diffusers did before it used PEFT."""
    made = {}
    for component, layer, half, tensor in _parts(tensors):
        made[f"{component}.{layer}.{'lora' if component == 'unet' else 'lora_linear_layer'}.{half}.weight"] = tensor
    return made


def _parts(tensors: Mapping[str, torch.Tensor]) -> Iterator[tuple[str, str, str, torch.Tensor]]:
    for key, tensor in tensors.items():
        component, _, rest = key.partition(".")
        layer, _, half = rest.removesuffix(".weight").rpartition(".lora_")
        yield component, layer, {"A": "down", "B": "up"}[half], tensor
