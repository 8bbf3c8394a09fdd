"""What diffusers itself makes of an adapter, with PEFT; and files of adapters with random weights."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from imagegen.engine.adapters.adapter import Adapter
from imagegen.engine.adapters.adapter_file import AdapterFile, read_file
from imagegen.engine.adapters.conversion import to_adapter

MAX_BYTES = 1 << 24
FILE_NAME = "style.safetensors"
Deltas = dict[str, dict[str, torch.Tensor]]  # by component and layer, [out, in * height * width]
Tensors = dict[str, torch.Tensor]


def file_of(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> AdapterFile:
    """A file with these tensors, as it would be read."""
    return AdapterFile(FILE_NAME, "0", tensors, metadata or {})


def trained(
    pipeline: Any, targets: Mapping[str, Iterable[str]], folder: Path, *, with_metadata: bool = False, **config: Any
) -> Path:
    """The file of an adapter with random weights, as `save_lora_weights` writes it.

    Args:
        pipeline: that it is for; left as it was.
        targets: for each component, the ends of the names of its layers that the adapter is for.
        folder: where the file goes.
        with_metadata: whether the file's header has what PEFT knows of it.
        config: further arguments of PEFT's LoraConfig.
    """
    arguments: dict[str, Any] = {}
    for component, names in targets.items():
        model = copy.deepcopy(getattr(pipeline, component))
        model.add_adapter(LoraConfig(target_modules=list(names), **{"r": 3, "lora_alpha": 3} | config))
        generator = torch.Generator().manual_seed(len(component))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_" in name:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator))
        arguments[f"{component}_lora_layers"] = get_peft_model_state_dict(model)
        if with_metadata:
            arguments[f"{component}_lora_adapter_metadata"] = model.peft_config["default"].to_dict()
    type(pipeline).save_lora_weights(folder, weight_name=FILE_NAME, **arguments)
    return folder / FILE_NAME


def tensors_of(path: Path) -> Tensors:
    return load_file(path)


def diffusers_deltas(pipeline: Any, path: Path) -> Deltas:
    """What `load_lora_weights` adds to each layer's weight; the pipeline has no adapter afterwards."""
    deltas: Deltas = {}
    try:
        pipeline.load_lora_weights(path.parent, weight_name=path.name, adapter_name="style")
        for component in type(pipeline)._lora_loadable_modules:
            layers: dict[str, Any] = dict(getattr(pipeline, component).named_modules())
            for name, layer in layers.items():
                if isinstance(layer, LoraLayer) and "style" in layer.lora_A:
                    halves: Any = layer.lora_A["style"], layer.lora_B["style"]
                    down, up = (half.weight.detach().flatten(1) for half in halves)
                    deltas.setdefault(component, {})[name] = layer.scaling["style"] * up @ down
    finally:
        pipeline.unload_lora_weights()
    return deltas


def deltas_of(adapter: Adapter) -> Deltas:
    """What an adapter adds to each layer's weight."""
    return {
        component: {name: pair.up.flatten(1) @ pair.down.flatten(1) for name, pair in layers.items()}
        for component, layers in adapter.components.items()
    }


def assert_same(one: Deltas, other: Deltas) -> None:
    assert {part: sorted(layers) for part, layers in one.items()} == {p: sorted(layers) for p, layers in other.items()}
    for component, layers in one.items():
        for name, delta in layers.items():
            torch.testing.assert_close(delta, other[component][name], rtol=2e-6, atol=2e-6, msg=f"{component} {name}")


def assert_as_diffusers(pipeline: Any, path: Path) -> Adapter:
    """Check that we read a file as diffusers does."""
    adapter = to_adapter(read_file(path, MAX_BYTES), pipeline)
    assert_same(deltas_of(adapter), diffusers_deltas(pipeline, path))
    return adapter


def written(tensors: Mapping[str, torch.Tensor], folder: Path, metadata: dict[str, str] | None = None) -> Path:
    """A file with these tensors."""
    save_file(dict(tensors), folder / FILE_NAME, metadata)
    return folder / FILE_NAME
