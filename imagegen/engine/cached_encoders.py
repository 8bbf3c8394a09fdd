"""Remembers the outputs of text encoders and VAE encoders, by the content of their inputs.

    pipeline.text_encoder -> CachedEncoder ─┐
    pipeline.vae.encode   -> CachedVae     ─┴─ ContentCache

What cannot be keyed or copied safely passes through uncached.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from imagegen.engine.adapters.adapter_table import AdapterTable, Updates, content_of
from imagegen.engine.adapters.row_updates import applied
from imagegen.engine.content_cache import ContentCache
from imagegen.engine.content_hash import content_key
from imagegen.engine.module_proxy import ModuleProxy
from imagegen.pipelines.checkpoint import Pipelines

# Key-value caches for generating text: of no use to an image pipeline, and they change while they are used.
_DROPPED_OUTPUTS = {"past_key_values"}

_KNOWN_HOOKS = ("transformers.", "imagegen.engine.adapters.", "imagegen.engine.preemption")

# What a VAE computes in pieces differs in its last bits from what it computes in one.
_VAE_MODES = (
    *("use_tiling", "use_slicing", "use_framewise_encoding", "tile_sample_min_size", "tile_sample_min_height"),
    *("tile_sample_min_width", "tile_sample_stride_height", "tile_sample_stride_width", "tile_overlap_factor"),
)


@dataclass(frozen=True)
class Caches:
    """What an engine remembers between requests.

    Attributes:
        prompt: outputs of text and image encoders.
        image: VAE encodings of input images.
    """

    prompt: ContentCache
    image: ContentCache

    def by_name(self) -> dict[str, ContentCache]:
        """The caches by the names that metrics give them."""
        return {"prompt": self.prompt, "image": self.image}


def with_caches(pipelines: Pipelines, caches: Caches) -> Pipelines:
    """The same pipelines with caches before their encoders.

    Args:
        pipelines: the loaded checkpoint; stays as it is.
        caches: where results are kept.

    Returns:
        shallow copies that share all weights.
    """
    return pipelines.with_pipelines(partial(_cached, caches=caches))


def _cached(pipeline: Any, caches: Caches) -> Any:
    cached = copy.copy(pipeline)
    for name, module in pipeline.__dict__.items():  # not setattr: it would write the proxies into the config
        if isinstance(module, torch.nn.Module) and name.startswith(("text_encoder", "image_encoder", "siglip")):
            cached.__dict__[name] = CachedEncoder(module, caches.prompt)
        elif name == "vae" and hasattr(module, "encode"):
            cached.__dict__[name] = CachedVae(module, caches.image)
    return cached


class _Cached(ModuleProxy):
    """A proxy of a module one of whose methods is remembered."""

    __slots__ = ("_cache",)

    def __init__(self, module: Any, cache: ContentCache) -> None:
        super().__init__(module)
        self._cache = cache

    def _remembered(self, call: Callable[..., Any], modes: Hashable, args: Any, kwargs: Any) -> Any:
        """The result of `call(*args, **kwargs)`, which is made only when the cache has none."""
        module = self._module
        if not self._cache.max_bytes or module.training or torch.is_grad_enabled() or _has_hooks(module):
            return call(*args, **kwargs)
        try:
            key = (id(module), modes, module.dtype, module.device, content_key((args, kwargs)))
        except TypeError:
            return call(*args, **kwargs)
        found = self._cache.get(key)
        if found is not None:
            return _copied(found)
        result = call(*args, **kwargs)
        try:
            kept = _copied(result)
        except _UnknownError:
            return result
        self._cache.put(key, kept, _size_bytes(kept))
        return result


class CachedEncoder(_Cached):
    """Stands in for a text or image encoder of a pipeline; equal inputs are encoded once.

    The caller may do with the result what it likes: it is a copy. Encoders in training mode, with gradients, with
    diffusers' own LoRA layers or with hooks of others on their layers pass through, and so do calls with arguments that
    have no content.

    Args:
        module: the real encoder; its weights must not change without `cache.clear()`.
        cache: where results are kept, maybe with those of other encoders.
        updates: what adapters add to it; those that do not touch it do not change its results.
    """

    __slots__ = ("_updates",)

    def __init__(self, module: Any, cache: ContentCache, updates: Updates = ()) -> None:
        super().__init__(module, cache)
        self._updates = updates

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The encoder's output for these arguments, without key-value caches when it was remembered."""
        if getattr(self._module, "peft_config", None):  # its LoRA scale is set from outside, request by request
            return self._module(*args, **kwargs)
        if not self._updates:
            return self._remembered(self._module, None, args, kwargs)
        return self._remembered(self._with_updates, content_of(self._updates), args, kwargs)

    def with_updates(self, updates: Updates) -> CachedEncoder:
        """The same encoder with what adapters add to it, for one image."""
        return CachedEncoder(self._module, self._cache, updates)

    def _with_updates(self, *args: Any, **kwargs: Any) -> Any:
        with applied(self._module, AdapterTable(1, ((0, 1, self._updates),), whole=True)):
            return self._module(*args, **kwargs)


class CachedVae(_Cached):
    """Stands in for the VAE of a pipeline; equal images are encoded once.

    The posterior is remembered, not a sample of it: each request samples with its own generator.

    Args:
        module: the real VAE; its weights must not change without `cache.clear()`.
        cache: where results are kept.
    """

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The real VAE's output; not remembered."""
        return self._module(*args, **kwargs)

    def encode(self, *args: Any, **kwargs: Any) -> Any:
        """The VAE's encoding of an image [B, C, H, W]."""
        modes = tuple(str(getattr(self._module, name, None)) for name in _VAE_MODES)
        return self._remembered(self._module.encode, modes, args, kwargs)


class _UnknownError(Exception):
    """A result holds something that cannot be copied safely."""


def _has_hooks(module: Any) -> bool:
    """Whether someone looks into a forward: the hook would miss it, or changes what it gives.

    Not the hooks by which transformers collects hidden states: they stay after the first call, and only collect. Nor
    those of adapters, which are in the key, or those that only wait.
    """
    hooks = (
        hook
        for layer in module.modules()
        for hook in (*layer._forward_hooks.values(), *layer._forward_pre_hooks.values())
    )
    return any(not (getattr(hook, "__module__", None) or "").startswith(_KNOWN_HOOKS) for hook in hooks)


def _is_posterior(value: Any) -> bool:
    return isinstance(getattr(value, "parameters", None), torch.Tensor) and hasattr(value, "sample")


def _copied(value: Any) -> Any:
    """A copy that shares nothing that its owner could change by accident.

    Raises:
        _UnknownError: something is neither a tensor, scalar, posterior nor a container of those.
    """
    if isinstance(value, torch.Tensor):
        return value.clone()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        parts = {name: _copied(part) for name, part in value.items() if name not in _DROPPED_OUTPUTS}
        return type(value)(**parts)
    if type(value) in (list, tuple):
        return type(value)(_copied(part) for part in value)
    if _is_posterior(value):
        twin = copy.copy(value)
        vars(twin).update({name: _copied(part) for name, part in vars(value).items() if isinstance(part, torch.Tensor)})
        return twin
    raise _UnknownError


def _size_bytes(value: Any) -> int:
    if isinstance(value, torch.Tensor):
        return value.nbytes
    if isinstance(value, dict):
        return sum(map(_size_bytes, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(_size_bytes, value))
    return _size_bytes(list(vars(value).values())) if _is_posterior(value) else 0
