"""The store of adapters of one engine, as its settings have it."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from imagegen.api.errors import InvalidArgument
from imagegen.engine.adapters.adapter import Adapter, AdapterError, LowRank
from imagegen.engine.adapters.adapter_file import read_file
from imagegen.engine.adapters.adapter_store import AdapterStore
from imagegen.engine.adapters.adapter_table import ComponentAdapter, Updates
from imagegen.engine.adapters.conversion import to_adapter
from imagegen.engine.adapters.host_adapters import HostAdapters
from imagegen.engine.adapters.row_updates import use_slots
from imagegen.engine.adapters.source import locate
from imagegen.engine.adapters.update_inputs import LayerNames, empty_matrices
from imagegen.engine.settings import EngineSettings
from imagegen.pipelines.checkpoint import Pipelines
from imagegen.pipelines.denoisers import denoisers_of
from imagegen.pipelines.lora_catalog import LoraCatalog

_TRIAL_RANK, _TRIAL_STRENGTH = 3, 0.03  # enough to be missed, and little enough for float16

_log = logging.getLogger(__name__)


def adapter_store(
    settings: EngineSettings, pipelines: Pipelines, folder: Path, read_in: Callable[[float], None]
) -> AdapterStore:
    """Make the store.

    Args:
        settings: its bounds.
        pipelines: the loaded checkpoint, whose layers the adapters are for.
        folder: where relative paths start.
        read_in: is told how many seconds the reading of a file took.
    """
    pipeline: Any = next(iter(pipelines.tasks.values())).pipeline
    denoisers = denoisers_of(pipeline)

    def read(file: Path) -> Adapter:
        adapter = to_adapter(read_file(file, settings.lora_device_bytes), pipeline)
        in_denoisers = [layers for name, layers in adapter.components.items() if name in denoisers]
        rank = max((low_rank.rank for layers in in_denoisers for low_rank in layers.values()), default=0)
        if settings.compile == "torch" and rank > settings.max_lora_rank:
            raise AdapterError(
                f"{file.name}: rank {rank}; {settings.max_lora_rank} (max_lora_rank) is the most for a compiled"
                " denoiser"
            )
        return adapter

    device = pipelines.device
    host = HostAdapters(
        partial(locate, folder=folder), read, settings.lora_host_bytes, pinned=device.type == "cuda", read_in=read_in
    )
    return AdapterStore(host, device, settings.max_loras, settings.lora_device_bytes)


def prepare_compiled(settings: EngineSettings, denoisers: Mapping[str, Any]) -> None:
    """Have denoisers that are to be compiled take adapters without being compiled anew; before their first forward.

    Args:
        settings: of the engine.
        denoisers: by name.
    """
    if settings.compile == "torch" and settings.max_loras_per_request:
        for module in denoisers.values():
            use_slots(module, settings.max_loras, settings.max_lora_rank)


def warm_up_updates(denoisers: Mapping[str, Any]) -> dict[str, Updates]:
    """Updates of an adapter that changes nothing, with which a compiled denoiser is compiled for all adapters."""
    return {name: ((ComponentAdapter("", {}), 1.0),) for name in denoisers}


def touched_layers(store: AdapterStore, catalog: LoraCatalog, most: int) -> dict[str, LayerNames]:
    """The layers, by component, of the adapters that are on offer by name; those that cannot be read are left out.

    Args:
        store: reads them.
        catalog: of them.
        most: of the adapters that are read.
    """
    touched: dict[str, set[str]] = {}
    for name in itertools.islice(dict.fromkeys([*sorted(catalog.modules), *catalog.names()]), most):
        try:
            for component, layers in store.check(catalog.where(name)).items():
                touched.setdefault(component, set()).update(layers)
        except (AdapterError, InvalidArgument) as error:  # in a folder there may be anything
            _log.warning("no layers are compiled for the adapter %s: %s", name, error)
    return {component: tuple(sorted(layers)) for component, layers in touched.items()}


def trial_updates(denoisers: Mapping[str, Any], layers: Mapping[str, LayerNames]) -> dict[str, Updates]:
    """Updates of a random adapter for these layers of denoisers, with which their packages are built and tried."""
    generator = torch.Generator().manual_seed(0)

    def random(like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=generator).to(like)

    def low_rank(layer: Any) -> LowRank:
        down, up = empty_matrices(layer, _TRIAL_RANK)
        up = up.t().reshape(-1, _TRIAL_RANK, *[1] * (down.ndim - 2))
        return LowRank(random(down) * (_TRIAL_STRENGTH / down[0].numel() ** 0.5), random(up))

    return {
        name: ((ComponentAdapter("", {layer: low_rank(module.get_submodule(layer)) for layer in layers[name]}), 1.0),)
        for name, module in denoisers.items()
        if name in layers
    }
