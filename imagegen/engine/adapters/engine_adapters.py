"""The store of adapters of one engine, as its settings have it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from imagegen.engine.adapters.adapter import Adapter, AdapterError
from imagegen.engine.adapters.adapter_file import read_file
from imagegen.engine.adapters.adapter_store import AdapterStore
from imagegen.engine.adapters.adapter_table import ComponentAdapter, Updates
from imagegen.engine.adapters.conversion import to_adapter
from imagegen.engine.adapters.host_adapters import HostAdapters
from imagegen.engine.adapters.row_updates import use_slots
from imagegen.engine.adapters.source import locate
from imagegen.engine.settings import EngineSettings
from imagegen.pipelines.checkpoint import Pipelines
from imagegen.pipelines.denoisers import denoisers_of


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
