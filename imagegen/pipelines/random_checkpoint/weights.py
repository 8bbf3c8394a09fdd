"""Random weights whose activations stay in range, written in shards that are the most that is in memory."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import SAFETENSORS_WEIGHTS_NAME
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors.torch import save_file
from transformers import PreTrainedModel

SHARD_BYTES = 1 << 30
_PIECE = 1 << 22  # values that are filled in float32 at a time: a small part of a large matrix
_THREADS = 2


def bytes_of(network: torch.nn.Module, dtype: torch.dtype) -> int:
    """Of its weights in a file."""
    return sum(math.prod(shape) * kind.itemsize for shape, kind in _stored(network, dtype).values())


def value_range(owner: torch.nn.Module, name: str, shape: Sequence[int]) -> tuple[float, float]:
    """Between which values a parameter's lie: norms are 1, biases 0, the rest is uniform in ±1/sqrt(fan-in).

    So a layer's output is as large as its input.

    Args:
        owner: the module that it belongs to directly.
        name: of the parameter; what is before its last dot does not count.
        shape: of it.
    """
    if name.rpartition(".")[2] in ("bias", "beta"):
        return 0.0, 0.0
    if "norm" in type(owner).__name__.lower():
        return 1.0, 1.0
    # Of an embedding's rows a single one is read.
    fan_in = 1 if isinstance(owner, torch.nn.Embedding) else math.prod(shape[1:])
    bound = 1 / math.sqrt(fan_in)
    return -bound, bound


def write_weights(
    network: torch.nn.Module,
    folder: Path,
    dtype: torch.dtype,
    seed: str,
    on_written: Callable[[int], None] = lambda count: None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write `*.safetensors`, with an index where there are several, as diffusers and transformers read them.

    Each tensor depends on `seed`, its name and its shape alone, not on the layers that there are beside it.

    Args:
        network: on the device `meta`, but for its buffers.
        folder: that exists.
        dtype: of the weights.
        seed: any text.
        on_written: is called with the bytes of each tensor that has its values.
        shard_bytes: the largest file, unless a single tensor is larger.

    Raises:
        OSError: it cannot be written.
    """
    stored = _stored(network, dtype)
    pattern = _file_pattern(network)
    plan = split_torch_state_dict_into_shards(
        {name: torch.empty(shape, dtype=kind, device="meta") for name, (shape, kind) in stored.items()},
        filename_pattern=pattern,
        max_shard_size=shard_bytes,
    )
    owners = dict(_owners(network))
    buffers = network.state_dict()

    def make(name: str) -> torch.Tensor:
        if name not in owners:
            value: torch.Tensor = buffers[name].to(stored[name][1])
        else:
            value = _filled(owners[name], name, stored[name][0], dtype, _generator(f"{seed}/{name}"))
        return value

    with ThreadPoolExecutor(_THREADS) as pool:  # filling holds no lock, and each tensor has its own generator
        for file, names in plan.filename_to_tensors.items():
            shard = {}
            for name, value in zip(names, pool.map(make, names), strict=True):
                shard[name] = value.contiguous()
                on_written(value.nbytes)
            save_file(shard, folder / file, metadata={"format": "pt"})
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        (folder / f"{pattern.format(suffix='')}.index.json").write_text(json.dumps(index, indent=2) + "\n")


def _file_pattern(network: torch.nn.Module) -> str:
    """How transformers and diffusers call their files; `{suffix}` is where the shard's number goes."""
    name = "model.safetensors" if isinstance(network, PreTrainedModel) else SAFETENSORS_WEIGHTS_NAME
    return name.replace(".safetensors", "{suffix}.safetensors")


def _stored(network: torch.nn.Module, dtype: torch.dtype) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Shape and dtype by name of what a file holds: parameters, shared ones once, and buffers that are saved."""
    own = {name for name, _ in network.named_parameters()}
    shared = {name for name, _ in network.named_parameters(remove_duplicate=False)} - own
    return {
        name: (tuple(value.shape), dtype if value.is_floating_point() else value.dtype)
        for name, value in network.state_dict().items()
        if name not in shared
    }


def _owners(network: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """The module that each parameter belongs to directly, by the parameter's name."""
    for prefix, module in network.named_modules():
        for name, _ in module.named_parameters(recurse=False):
            yield f"{prefix}.{name}" if prefix else name, module


def _generator(seed: str) -> torch.Generator:
    digest = hashlib.blake2b(seed.encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


def _filled(
    owner: torch.nn.Module, name: str, shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator
) -> torch.Tensor:
    low, high = value_range(owner, name, shape)
    if low == high:
        return torch.full(shape, low, dtype=dtype)
    filled = torch.empty(shape, dtype=dtype)
    flat = filled.view(-1)
    # In float32 and then rounded: torch's bfloat16 has 256 values between the bounds, whose mean is not 0.
    piece: Any = torch.empty(min(_PIECE, flat.numel()))
    for start in range(0, flat.numel(), _PIECE):
        part = flat[start : start + _PIECE]
        part.copy_(piece[: part.numel()].uniform_(low, high, generator=generator))
    return filled
