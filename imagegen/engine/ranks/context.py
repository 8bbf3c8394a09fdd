"""Context parallelism: each rank computes some tokens of every row, after diffusers' plans (Ulysses)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import ContextParallelConfig
from diffusers.models._modeling_parallel import ParallelConfig
from torch.distributed.device_mesh import init_device_mesh

from imagegen.api.errors import InvalidArgument


def check_context(denoisers: Mapping[str, Any], ranks: int) -> None:
    """Check that the tokens of these denoisers' forwards can be split over `ranks` ranks.

    Raises:
        ValueError: one has no plan for it, or its heads cannot be divided.
    """
    for name, module in denoisers.items():
        kind = type(module).__name__
        if getattr(module, "_cp_plan", None) is None:
            raise ValueError(
                f"parameter parallelism: diffusers has no plan to split the tokens of the {name}, {kind}; allowed is"
                " rows"
            )
        heads = module.config.num_attention_heads
        if heads % ranks:
            allowed = ", ".join(str(count) for count in range(1, heads + 1) if heads % count == 0)
            raise ValueError(
                f"parameter devices: {ranks} do not divide the {heads} heads of the {name}, {kind}; allowed with"
                f" parallelism context are {allowed}"
            )
        if getattr(module, "is_cache_enabled", False):
            raise ValueError("parameter parallelism: a cache between steps cannot be kept by context; allowed is rows")


def enable_context(module: Any, rank: int, ranks: int, device: torch.device) -> None:
    """Have a denoiser compute its share of the tokens; every rank has to call it at the same time from now on.

    The process group is there.

    Raises:
        ValueError: its attention backend cannot do that.
    """
    context = ContextParallelConfig(ulysses_degree=ranks)
    parallel = ParallelConfig(context_parallel_config=context)
    mesh = init_device_mesh(device.type, context.mesh_shape, mesh_dim_names=context.mesh_dim_names)
    parallel.setup(rank, ranks, device, mesh=mesh)

    def resolved(config: Any) -> ParallelConfig:
        module._parallel_config = parallel
        return parallel

    # diffusers' own takes the device of a rank's number: there is none on the host, and it is another one than ours
    # where `devices` does not begin with 0.
    module._resolve_parallel_config = resolved
    try:
        module.enable_parallelism(config=context)
    except ValueError as error:
        raise ValueError(f"parameter attention_backend: {error}") from error


def check_tokens(size: tuple[int, int], granularity_px: int, ranks: int) -> None:
    """Check that the tokens of an image can be divided.

    Args:
        size: (width, height) in pixels.
        granularity_px: side of a token.
        ranks: how many there are.

    Raises:
        InvalidArgument: they cannot.
    """
    width, height = size
    tokens = (width // granularity_px) * (height // granularity_px)
    if tokens % ranks:
        raise InvalidArgument(
            "size",
            f"{width}x{height} has {tokens} tokens, which {ranks} devices cannot share evenly; a width that is a"
            f" multiple of {granularity_px * ranks} fits",
        )
