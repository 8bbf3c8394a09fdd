"""Puts the executor between an unmodified pipeline and its denoisers."""

from __future__ import annotations

import copy
import itertools
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any

import torch

from imagegen.engine.adapters.adapter_table import Updates
from imagegen.engine.attention_swap import AttentionSwap
from imagegen.engine.cached_encoders import CachedEncoder
from imagegen.engine.collate import DenoiserCall, describe
from imagegen.engine.content_cache import ContentCache
from imagegen.engine.finite_check import CheckedVae, FiniteCheck
from imagegen.engine.host_scheduler import own_scheduler
from imagegen.engine.module_proxy import ModuleProxy, unwrapped
from imagegen.engine.prompt_truncation import PromptTruncation, WatchedTokenizer
from imagegen.engine.shared_step import watch_steps
from imagegen.engine.signature import main_argument
from imagegen.engine.step_forecast import CallForecast, ControlForecast, StepForecast
from imagegen.pipelines.classes import SWAPS_ATTENTION
from imagegen.pipelines.denoisers import DENOISERS

RunCall = Callable[[DenoiserCall], Any]
"""Runs one denoiser call and returns its output, such as `Executor.call`."""

# Parts of the names of pipelines that not only swap attention processors, which can be kept apart, but also hook into
# the denoiser's layers or differentiate through it.
_UNSUPPORTED = ("SAGPipeline", "AttendAndExcite", "Pix2PixZero", "TextToVideoZero")

_CPU = torch.device("cpu")

_run_numbers = itertools.count()


class DenoiserProxy(ModuleProxy):
    """Stands in for a denoiser in one image's pipeline: its calls go to the executor, which suspends the image.

    Modules with caches between steps run each image's calls alone, under the image's own cache contexts.

    Args:
        module: the real denoiser.
        run_call: runs one denoiser call and returns its output.
        pixels_per_row: pixels of the image.
        swaps_attention: the pipeline sets attention processors on the module while it runs; its calls run alone.
        updates: what the image's adapters add to the module.
        forecast: says which calls are left out, and gives their outputs; None to make all.

    Raises:
        ValueError: the module has a cache whose state cannot be kept apart between images.
    """

    __slots__ = (
        *("_context", "_forecast", "_pixels_per_row", "_run_call", "_state_managers"),
        *("_suffix", "_swap", "_updates", "_used"),
    )

    def __init__(
        self,
        module: Any,
        run_call: RunCall,
        pixels_per_row: int,
        *,
        swaps_attention: bool = False,
        updates: Updates = (),
        forecast: CallForecast | ControlForecast | None = None,
    ) -> None:
        super().__init__(module)
        self._forecast = forecast
        self._updates = updates
        self._run_call = run_call
        self._pixels_per_row = pixels_per_row
        self._state_managers = _state_managers(module)
        self._suffix = f"@{next(_run_numbers)}"
        self._context: tuple[str, dict[str, Any]] = ("", {})
        self._used: set[str] = set()  # names of this image's cache contexts
        self._swap = AttentionSwap(module) if swaps_attention else None
        if self._state_managers:  # also for an image that fails
            weakref.finalize(self, _forget, self._state_managers, self._used)
        if self._swap is not None:
            weakref.finalize(self, self._swap.restore)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module's output for these arguments, or a forecast of it."""
        if self._forecast is None:
            return self._compute(args, kwargs)
        sample = main_argument(self._module, args, kwargs)
        return self._forecast.output(self._context[0], sample, partial(self._compute, args, kwargs))

    forward = __call__

    def _compute(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._swap is not None:
            self._swap.suspend()
        alone = self._swap is not None or bool(self._state_managers)
        around = self._around() if alone else None
        return self._run_call(describe(self._module, args, kwargs, self._pixels_per_row, around, self._updates))

    @contextmanager
    def cache_context(self, name: str, **kwargs: Any) -> Iterator[None]:
        """Remember the context for this image's calls; the module enters it only for their forwards."""
        outer = self._context
        self._context = (name, kwargs)
        try:
            yield
        finally:
            self._context = outer

    def _reset_stateful_cache(self, recurse: bool = True) -> None:
        """Forget this image's cache contexts, not those of others. Pipelines call it when they end."""
        _forget(self._state_managers, self._used)

    def _around(self) -> Callable[[], AbstractContextManager[Any]]:
        name, details = self._context
        module, swap = self._module, self._swap
        cached = bool(self._state_managers)
        own_name = name + self._suffix
        if cached:
            self._used.add(own_name)

        @contextmanager
        def entered() -> Iterator[None]:
            with ExitStack() as stack:
                if swap is not None:
                    stack.enter_context(swap.own())
                if cached:
                    stack.enter_context(module.cache_context(own_name, **details))
                yield

        return entered


def attach(
    pipeline: Any,
    run_call: RunCall,
    pixels_per_row: int,
    check: FiniteCheck | None = None,
    truncation: PromptTruncation | None = None,
    scheduler: Any = None,
    device: torch.device = _CPU,
    updates: Mapping[str, Updates] = MappingProxyType({}),
    forecast: StepForecast | None = None,
) -> Any:
    """A pipeline for one image whose denoiser calls go through `run_call`.

    Call it between forwards, on the thread that runs the images.

    Args:
        pipeline: any diffusers pipeline; stays as it is. Its text encoders and VAE may be proxies.
        run_call: runs one denoiser call and returns its output.
        pixels_per_row: pixels of the image.
        check: looks at what the VAE decodes; None for nobody.
        truncation: is told what the tokenizers read; None for nobody.
        scheduler: takes the place of the pipeline's own; None to keep that.
        device: of the pipeline's modules.
        updates: what the image's adapters add, by component.
        forecast: leaves out denoiser calls of a pipeline for which `imagegen.pipelines.step_cache` knows no obstacle;
            None to make all.

    Returns:
        A shallow copy that shares all modules and has its own schedulers.

    Raises:
        ValueError: the pipeline, or a cache of its denoiser, cannot share its modules with other images.
    """
    family = type(pipeline).__name__
    if any(part in family for part in _UNSUPPORTED):
        raise ValueError(f"{family} changes its denoiser while it runs; it cannot be served beside other requests")
    swaps_attention = any(part in family for part in SWAPS_ATTENTION)
    attached = copy.copy(pipeline)
    for name, value in pipeline.__dict__.items():  # not setattr: it writes to the configuration, which is shared
        if name in DENOISERS and isinstance(value, torch.nn.Module):

            def proxy(module: Any, name: str = name) -> DenoiserProxy:
                return DenoiserProxy(
                    module,
                    run_call,
                    pixels_per_row,
                    swaps_attention=swaps_attention,
                    updates=updates.get(name, ()),
                    forecast=None if forecast is None else forecast.of_module(name, module),
                )

            several = getattr(value, "nets", None)  # of ControlNets: each shares forwards on its own
            attached.__dict__[name] = proxy(unwrapped(value)) if several is None else type(value)(map(proxy, several))
        elif name in updates:
            cached = issubclass(type(value), CachedEncoder)
            encoder = value if cached else CachedEncoder(value, ContentCache(0))
            attached.__dict__[name] = encoder.with_updates(updates[name])
        elif check is not None and isinstance(value, torch.nn.Module) and hasattr(value, "decode"):
            attached.__dict__[name] = CheckedVae(value, check)
        elif truncation is not None and name.startswith("tokenizer") and callable(value):
            attached.__dict__[name] = WatchedTokenizer(value, name, truncation, device)
        elif "scheduler" in name and value is not None:
            chosen = scheduler if scheduler is not None and name == "scheduler" else value
            attached.__dict__[name] = own = own_scheduler(chosen, device)
            if forecast is not None:
                watch_steps(own, forecast)
    return attached


def _state_managers(module: Any) -> list[Any]:
    """Where the cache hooks of a diffusers model keep their state by context; empty without such hooks.

    Raises:
        ValueError: a hook keeps one state for all contexts (FasterCache, PyramidAttentionBroadcast).
    """
    if not getattr(module, "is_cache_enabled", False):
        return []
    registry = module._diffusers_hook
    managers: dict[int, Any] = {}
    for child in (registry, *registry._get_child_registries()):
        for hook in child.hooks.values():
            if not hook._is_stateful:
                continue
            own = [value for value in vars(hook).values() if hasattr(value, "_state_cache")]
            if not own:
                raise ValueError(
                    f"cache {type(module._cache_config).__name__} keeps one state for all requests; allowed are caches "
                    "with a state per cache context: FirstBlockCache, MagCache, SeaCache, TaylorSeerCache, TextKVCache"
                )
            managers |= {id(manager): manager for manager in own}
    return list(managers.values())


def _forget(managers: list[Any], contexts: set[str]) -> None:
    for manager in managers:
        for name in contexts:
            manager._state_cache.pop(name, None)
    contexts.clear()
