"""VAEs whose long work gives way to others, and that find room for it."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import greenlet
import torch

from imagegen.engine.forward_costs import ForwardCosts
from imagegen.engine.module_proxy import ModuleProxy
from imagegen.engine.out_of_memory import OUT_OF_MEMORY, memory_errors
from imagegen.engine.preemption import Preemption
from imagegen.pipelines.checkpoint import Pipelines


def with_preemption(pipelines: Pipelines) -> Pipelines:
    """The same pipelines, shallow copies, with VAEs that can be preempted.

    Args:
        pipelines: the loaded checkpoint; stays as it is.
    """
    preemption = Preemption(ForwardCosts(pipelines.device), pipelines.device)
    return pipelines.with_pipelines(partial(_preemptible, preemption=preemption))


def _preemptible(pipeline: Any, preemption: Preemption) -> Any:
    vae = pipeline.__dict__.get("vae")
    if not isinstance(vae, torch.nn.Module) or not hasattr(vae, "decode"):
        return pipeline
    copied = copy.copy(pipeline)
    copied.__dict__["vae"] = PreemptibleVae(vae, preemption)  # not setattr: it would write the proxy into the config
    return copied


class PreemptibleVae(ModuleProxy):
    """Stands in for the VAE of a pipeline: what it encodes and decodes gives way to others where that takes long.

    Without memory for it, it waits until what was preempted in its favour has ended, and does it once more.

    Args:
        module: the VAE.
        preemption: of its device.
    """

    __slots__ = ("_preemption",)

    def __init__(self, module: Any, preemption: Preemption) -> None:
        super().__init__(module)
        self._preemption = preemption

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The VAE's own output."""
        return self._module(*args, **kwargs)

    def encode(self, *args: Any, **kwargs: Any) -> Any:
        """The VAE's encoding of images [B, C, H, W]."""
        return self._done("encode", args, kwargs)

    def decode(self, *args: Any, **kwargs: Any) -> Any:
        """The images of latents [B, C, ...]."""
        return self._done("decode", args, kwargs)

    def _done(self, method: str, args: Any, kwargs: Any) -> Any:
        try:
            return self._once(method, args, kwargs)
        except OUT_OF_MEMORY:
            make_room = getattr(greenlet.getcurrent(), "make_room", None)
            if make_room is None:
                raise
        # Outside the except block: the exception's traceback holds the tensors of what failed.
        make_room()
        return self._once(method, args, kwargs)

    def _once(self, method: str, args: Any, kwargs: Any) -> Any:
        key = (
            method,
            *(tuple(value.shape) for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)),
        )
        with memory_errors(), self._preemption.around(self._module, key, 1, rest_key=object()):
            return getattr(self._module, method)(*args, **kwargs)
