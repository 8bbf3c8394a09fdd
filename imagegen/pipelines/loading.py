"""Loads a checkpoint's pipeline one network at a time, each straight into its dtype and onto its device.

The largest goes first: what is needed only while it is read is gone when the others come. The host never holds a whole
model that is for another device, nor one in two dtypes.
"""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import ConfigMixin, DiffusionPipeline, ModelMixin
from transformers import PreTrainedModel

from imagegen.pipelines.mapped_weights import reading_in_pieces
from imagegen.pipelines.variant import weight_files

_log = logging.getLogger(__name__)

# Loading changes what belongs to the whole process: diffusers' readers here, torch's default dtype and initialisers in
# diffusers and transformers. Two at a time would restore what the other one had set.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class _Network:
    """A component with weights that its own class loads."""

    name: str
    kind: type[Any]
    variant: str | None
    size_bytes: int


def load_base(folder: Path, *, variant: str | None, dtype: torch.dtype, device: torch.device) -> Any:
    """The diffusers pipeline that a checkpoint was saved as. Safe from any thread; one loads at a time.

    Args:
        folder: of the checkpoint.
        variant: of its weight files, where a component has it.
        dtype: of the weights, but for those that their model keeps in float32.
        device: where they come to lie.

    Raises:
        OSError: files are missing or damaged.
        ValueError: the checkpoint does not fit diffusers.
    """
    with _ONE_AT_A_TIME:
        loaded = _load_networks(folder, list(_networks(folder, variant)), dtype, device)
        return DiffusionPipeline.from_pretrained(str(folder), variant=variant, dtype=dtype, **loaded).to(device)


def load_networks(
    folder: Path, names: Collection[str], *, variant: str | None, dtype: torch.dtype, device: torch.device
) -> dict[str, Any]:
    """Those components of a checkpoint that have one of these names, as `load_base` loads them; by name."""
    with _ONE_AT_A_TIME:
        networks = [network for network in _networks(folder, variant) if network.name in names]
        return {name: network.to(device) for name, network in _load_networks(folder, networks, dtype, device).items()}


def network_class(source: Path | str) -> str:
    """The class of diffusers that a network was saved as.

    Args:
        source: its folder, or a hub id.

    Raises:
        OSError: there is no such network.
    """
    config = _NetworkConfig.load_config(source) if isinstance(source, str) else _saved_config(source)
    return str(config.get("_class_name"))


def load_network(kind: str, source: Path | str, *, dtype: torch.dtype, device: torch.device) -> Any:
    """A network of diffusers of class `kind`, see `network_class`, as `load_base` loads those of a checkpoint.

    Raises:
        OSError: files are missing or damaged.
    """
    with _ONE_AT_A_TIME, reading_in_pieces():
        return getattr(diffusers, kind).from_pretrained(str(source), dtype=dtype).to(device)


class _NetworkConfig(ConfigMixin):
    """Finds the configuration of a network on the hub."""

    config_name = "config.json"


def _saved_config(folder: Path) -> dict[str, Any]:
    """The configuration in the folder of a network."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config


def _load_networks(
    folder: Path, networks: Sequence[_Network], dtype: torch.dtype, device: torch.device
) -> dict[str, Any]:
    # Only another device needs a map: for the host it would change nothing.
    place = {} if device.type == "cpu" else {"device_map": str(device)}
    loaded = {}
    for network in sorted(networks, key=lambda network: network.size_bytes, reverse=True):
        _log.info("loading %s, %s", network.name, readable_size(network.size_bytes))
        with reading_in_pieces():
            loaded[network.name] = network.kind.from_pretrained(
                str(folder), subfolder=network.name, variant=network.variant, dtype=dtype, **place
            )
    return loaded


def readable_size(size_bytes: int) -> str:
    """A number of bytes for people, such as "6.94 GB" or "168 MB"."""
    return f"{size_bytes / 1e9:.2f} GB" if size_bytes >= 1e9 else f"{max(1, round(size_bytes / 1e6))} MB"


def _networks(folder: Path, variant: str | None) -> Iterator[_Network]:
    """The components to be loaded here; the pipeline itself loads all others."""
    config: Mapping[str, Any] = DiffusionPipeline.load_config(str(folder))
    pipeline = getattr(diffusers, str(config["_class_name"]), None)
    # The networks that a combined pipeline is given would go to those that it is connected with too.
    if pipeline is None or getattr(pipeline, "_load_connected_pipes", False):
        return
    takes = inspect.signature(pipeline.__init__).parameters
    for name, value in config.items():
        kind, part = _kind(value), folder / name
        if name not in takes or kind is None or not part.is_dir():
            continue
        own = variant if variant is not None and weight_files(part, variant) else None
        yield _Network(name, kind, own, sum(file.stat().st_size for file in weight_files(part, own)))


def _kind(value: Any) -> type[Any] | None:
    """The class that an entry of `model_index.json` names; None unless it is a network of a library that we know."""
    match value:
        case [str(library), str(name)]:
            pass
        case _:  # a component that is left out is [None, None]; an argument of the pipeline may be any list
            return None
    if library not in ("diffusers", "transformers") and not hasattr(diffusers.pipelines, library):
        return None
    module = getattr(diffusers.pipelines, library, None) or importlib.import_module(library)
    kind = getattr(module, name, None)
    return kind if isinstance(kind, type) and issubclass(kind, (ModelMixin, PreTrainedModel)) else None
