"""LoRA files for tiny pipelines, and what diffusers itself makes of them."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from imagegen.api.tensors import Pixels
from imagegen.engine.collate import forward
from imagegen.engine.pipeline_call import generate_image
from imagegen.pipelines.checkpoint import Pipelines
from imagegen.pipelines.plan import Plan

# What trainers usually train, by the ends of layers' names.
DENOISER_LAYERS = ("to_q", "to_k", "to_v", "to_out.0", "ff.net.2", "linear_1", "conv1", "proj_in", "attention.to_q")
TEXT_LAYERS = ("q_proj", "v_proj", "out_proj", "fc1")


def layers_of(module: nn.Module, ends: Sequence[str]) -> dict[str, Any]:
    """Linear layers and convolutions of these names."""
    return {
        name: layer
        for name, layer in module.named_modules()
        if name.endswith(tuple(ends)) and isinstance(layer, nn.Linear | nn.Conv2d)
    }


def write_adapter(
    pipeline: Any, file: Path, seed: int, *, rank: int = 4, strength: float = 0.3, text: bool = False
) -> Path:
    """Write random matrices for a pipeline's denoiser, and its text encoders, in diffusers' format."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for component in type(pipeline)._lora_loadable_modules:
        module = getattr(pipeline, component, None)
        is_text = component.startswith("text_encoder")
        if not isinstance(module, nn.Module) or (is_text and not text):
            continue
        for name, layer in layers_of(module, TEXT_LAYERS if is_text else DENOISER_LAYERS).items():
            out, width, *kernel = layer.weight.shape
            down = torch.randn(rank, width, *kernel, generator=generator) / rank
            up = torch.randn(out, rank, *[1] * len(kernel), generator=generator)
            tensors[f"{component}.{name}.lora_A.weight"] = strength * down
            tensors[f"{component}.{name}.lora_B.weight"] = strength * up
    assert tensors
    save_file(tensors, file)
    return file


class Reference:
    """A pipeline with adapters as diffusers loads them, which makes one image after the other.

    Args:
        pipeline: copied.
        files: by the names of adapters.
        describe: makes the pipelines of all tasks of a pipeline.
    """

    def __init__(self, pipeline: Any, files: dict[str, Path], describe: Callable[[Any], Pipelines]) -> None:
        self._pipeline = copy.deepcopy(pipeline)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PEFT's, about what this pipeline has not
            for name, file in files.items():
                self._pipeline.load_lora_weights(str(file), adapter_name=name)
        self._pipelines = describe(self._pipeline)

    def image(self, plan: Plan) -> Pixels:
        """The plan's first image, uint8 [H, W, 3]."""
        if plan.loras:
            self._pipeline.enable_lora()
            self._pipeline.set_adapters([lora.name for lora in plan.loras], [lora.scale for lora in plan.loras])
        else:
            self._pipeline.disable_lora()
        with torch.no_grad():
            return generate_image(plan, 0, self._pipelines, lambda call: forward([call])[0]).frame
