"""Makes a loaded pipeline fast on its device, as configured."""

from __future__ import annotations

from typing import Any

import torch

from imagegen.malloc import keep_freed_memory
from imagegen.pipelines.denoisers import DENOISERS
from imagegen.pipelines.settings import PipelineSettings


def tune(pipeline: Any, settings: PipelineSettings, device: torch.device) -> None:
    """Apply threads, memory format, attention backend, TF32 and compilation.

    Raises:
        ValueError: the model has no choice of attention backends, or not this one.
    """
    if device.type == "cpu":
        keep_freed_memory()
        if settings.cpu_threads:
            torch.set_num_threads(settings.cpu_threads)
    torch.backends.cuda.matmul.allow_tf32 = settings.allow_tf32
    torch.backends.cudnn.allow_tf32 = settings.allow_tf32
    modules = {name: getattr(pipeline, name, None) for name in (*DENOISERS, "vae")}
    for name, module in modules.items():
        if not isinstance(module, torch.nn.Module):
            continue
        if settings.channels_last:
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if name != "vae":
            if settings.attention_backend is not None:
                _set_attention_backend(name, module, settings.attention_backend)
            if settings.compile == "torch":
                module.compile()


def _set_attention_backend(name: str, module: Any, backend: str) -> None:
    if not hasattr(module, "set_attention_backend"):
        raise ValueError(f"parameter attention_backend: the {name} of this model has no choice of backends")
    module.set_attention_backend(backend)
