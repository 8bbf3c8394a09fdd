"""A network as the process that compiles it gets it: all but its weights, of which it needs the shapes alone."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import pickle
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


def without_weights(module: nn.Module) -> bytes:
    """A network to be sent to another process: its parameters are empty, its buffers are there, hooks are not.

    The network itself may be in use meanwhile.

    Raises:
        Exception: it cannot be copied or pickled.
    """
    places: dict[int, Any] = {
        id(parameter): nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=False)
        for parameter in module.parameters()
    }
    empty = copy.deepcopy(module, places)
    for each in empty.modules():
        each._forward_hooks.clear()
        each._forward_hooks_with_kwargs.clear()
    return pickle.dumps(empty)


def with_empty_weights(pickled: bytes, device: torch.device) -> nn.Module:
    """What `without_weights` gave, with parameters that have memory and no values, which nothing may read.

    Args:
        pickled: the network; of a process that is trusted.
        device: where it is to compute.
    """
    module: nn.Module = pickle.load(io.BytesIO(pickled))
    made: dict[nn.Parameter, nn.Parameter] = {}  # a parameter of two layers stays one
    for each in module.modules():
        for name, parameter in each._parameters.items():
            if parameter is not None:
                if parameter not in made:
                    made[parameter] = nn.Parameter(torch.empty_like(parameter, device=device), requires_grad=False)
                each._parameters[name] = made[parameter]
    return module.to(device).eval()


def constants(module: nn.Module) -> dict[str, torch.Tensor]:
    """What compiled code reads of a network, by name: the very tensors, not copies."""
    parameters: Mapping[str, torch.Tensor] = dict(module.named_parameters(remove_duplicate=False))
    return {**dict(module.named_buffers(remove_duplicate=False)), **parameters}


def digest_of_weights(module: nn.Module) -> str:
    """A text that is equal for networks of equal weights; reads all of them."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in constants(module).items():
        digest.update(name.encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def identity(module: nn.Module) -> str:
    """A text that is equal for networks of the same code, whatever their weights are, in every process."""
    config = {key: value for key, value in dict(getattr(module, "config", {})).items() if not key.startswith("_")}
    layers = [(name, _name(each), each.extra_repr(), _processor(each)) for name, each in module.named_modules()]
    tensors = [
        (name, str(tensor.dtype), tuple(tensor.shape), tensor.stride()) for name, tensor in constants(module).items()
    ]
    return json.dumps([config, layers, tensors], default=repr)


def _processor(layer: nn.Module) -> list[str]:
    """Of an attention layer of diffusers: a plain object that computes it, with the back end that it was given."""
    processor = getattr(layer, "processor", None)
    return [] if processor is None else [_name(processor), str(getattr(processor, "_attention_backend", None))]


def _name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
