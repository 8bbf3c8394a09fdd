"""Remembers what text encoders and VAE encoders gave, by the content of what they were given.

    pipeline.text_encoder -> CachedEncoder ─┐
    pipeline.vae.encode   -> CachedVae     ─┴─ ContentCache: least recently used first out, bounded in bytes

What cannot be keyed or copied safely passes through uncached.
"""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch

from imagegen.engine.content_hash import content_key
from imagegen.engine.module_proxy import Delegate

# Key-value caches for generating text: of no use to an image pipeline, and they change while they are used.
_DROPPED_OUTPUTS = {"past_key_values"}

# What a VAE computes in pieces differs in its last bits from what it computes in one.
_VAE_MODES = (
    *("use_tiling", "use_slicing", "use_framewise_encoding", "tile_sample_min_size", "tile_sample_min_height"),
    *("tile_sample_min_width", "tile_sample_stride_height", "tile_sample_stride_width", "tile_overlap_factor"),
)


@dataclass(frozen=True)
class CacheStatistics:
    """Counters of a cache since it was made; `bytes` and `entries` are those held at the moment."""

    hits: int
    misses: int
    evictions: int
    bytes: int
    entries: int


class ContentCache:
    """Values by key, within a budget of bytes; the least recently used leave first. Safe from any thread.

    Args:
        max_bytes: most bytes held; 0 turns the cache off.

    Raises:
        ValueError: `max_bytes` is negative.
    """

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes: {max_bytes}; 0 (off) or more is allowed")
        self.max_bytes = max_bytes
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()
        self._hits = self._misses = self._evictions = self._bytes = 0

    def get(self, key: Hashable) -> Any:
        """The value, now the most recently used; None when there is none."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                self._misses += 1
                return None
            self._hits += 1
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: Hashable, value: Any, size_bytes: int) -> None:
        """Keep a value, other than None; one larger than the whole cache is not kept."""
        if size_bytes > self.max_bytes:
            return
        with self._lock:
            self._bytes -= self._entries.pop(key, (None, 0))[1]
            self._entries[key] = (value, size_bytes)
            self._bytes += size_bytes
            while self._bytes > self.max_bytes:
                _, (_, freed_bytes) = self._entries.popitem(last=False)
                self._bytes -= freed_bytes
                self._evictions += 1

    def clear(self) -> None:
        """Forget everything, for instance after weights have changed. Not counted as evictions."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0

    @property
    def statistics(self) -> CacheStatistics:
        """The counters, consistent with each other."""
        with self._lock:
            return CacheStatistics(self._hits, self._misses, self._evictions, self._bytes, len(self._entries))


class _Cached(Delegate):
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
    LoRA layers or with hooks on their layers pass through, and so do calls with arguments that have no content.

    Args:
        module: the real encoder; its weights must not change without `cache.clear()`.
        cache: where results are kept, maybe with those of other encoders.
    """

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The encoder's output for these arguments, without key-value caches when it was remembered."""
        if getattr(self._module, "peft_config", None):  # its LoRA scale is set from outside, request by request
            return self._module(*args, **kwargs)
        return self._remembered(self._module, None, args, kwargs)


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

    Not the hooks by which transformers collects hidden states: they stay after the first call, and only collect.
    """
    hooks = (
        hook
        for layer in module.modules()
        for hook in (*layer._forward_hooks.values(), *layer._forward_pre_hooks.values())
    )
    return any(not (getattr(hook, "__module__", None) or "").startswith("transformers.") for hook in hooks)


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
