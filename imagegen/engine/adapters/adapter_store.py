"""The adapters of an engine: read for a request while others generate, and on the device for as long as it runs.

caller's thread   acquire: all are known -> room on the device, at once or later
reading threads   else they are read first
device thread     updates, release
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch

from imagegen.api.errors import InvalidArgument, Unavailable
from imagegen.engine.adapters.adapter import AdapterError
from imagegen.engine.adapters.adapter_reads import AdapterReads, Reading
from imagegen.engine.adapters.adapter_table import Updates
from imagegen.engine.adapters.device_slots import DeviceSlots, NeverFitsError, Visit
from imagegen.engine.adapters.host_adapters import HostAdapter, HostAdapters
from imagegen.engine.adapters.placed_adapter import PlacedAdapter
from imagegen.metrics import CacheStatistics
from imagegen.pipelines.plan import PlannedLora


@dataclass(eq=False)
class AdapterStack:
    """The adapters of one request.

    Attributes:
        loras: as planned.
        stop: why the request is to end before it has begun; None while it is not.
        begin: called once all of them may be on the device, on any thread.
        failed: called instead where that cannot be.
        warnings: for the client, once they have begun.
    """

    loras: Sequence[PlannedLora]
    stop: Callable[[], Exception | None]
    begin: Callable[[], None]
    failed: Callable[[BaseException], None]
    warnings: tuple[str, ...] = field(default=(), init=False)
    _reading: Reading | None = field(default=None, init=False)
    _visit: Visit[HostAdapter, PlacedAdapter] | None = field(default=None, init=False)
    _scales: Sequence[float] = field(default=(), init=False)

    def updates(self) -> dict[str, Updates]:
        """What they add, by component, once they have begun. For the device's thread."""
        by_component: dict[str, Updates] = {}
        for place, scale in zip(self._visit.places if self._visit else (), self._scales, strict=True):
            if scale:
                for name, part in place.components().items():
                    by_component[name] = (*by_component.get(name, ()), (part, scale))
        return by_component


class AdapterStore:
    """Keeps the adapters of an engine. Safe from any thread.

    Args:
        host: reads them.
        device: where they are used.
        count: most of them on the device.
        max_bytes: most bytes of them there.
    """

    def __init__(self, host: HostAdapters, device: torch.device, count: int, max_bytes: int) -> None:
        self._host = host
        self._slots: DeviceSlots[HostAdapter, PlacedAdapter] = DeviceSlots(
            count, max_bytes, partial(PlacedAdapter, device=device)
        )
        self._reads = AdapterReads(host.get)

    def acquire(self, stack: AdapterStack) -> None:
        """Begin a request's adapters, now or later. To be given back to `release` once they have begun.

        Exactly one of `stack.begin` and `stack.failed` is called, maybe at once, unless it is withdrawn.
        """
        known = {lora.where: self._host.known(lora.where) for lora in stack.loras}
        missing = {where for where, adapter in known.items() if adapter is None}
        there = {where: adapter for where, adapter in known.items() if adapter is not None}
        if not missing:
            self._enter(stack, there)
            return

        def enter() -> None:
            self._enter(stack, there | reading.found)

        reading = stack._reading = Reading(missing, enter, partial(_unreadable, stack))
        try:
            self._reads.begin(reading)
        except Unavailable as error:
            stack.failed(error)
            return
        self._see_to_cancel(stack)

    def release(self, stack: AdapterStack) -> None:
        """The request has ended; of no effect the second time."""
        if stack._visit is not None:
            self._slots.leave(stack._visit)

    def withdraw(self, stack: AdapterStack) -> bool:
        """Have a request wait no more: neither `begin` nor `failed` is called. False if it does not wait."""
        if stack._reading is not None and self._reads.withdraw(stack._reading):
            return True
        return stack._visit is not None and self._slots.withdraw(stack._visit)

    def check(self, where: str) -> Mapping[str, frozenset[str]]:
        """Read an adapter if it is not here, and see whether it fits.

        Returns:
            the names of its layers by component.

        Raises:
            AdapterError: it cannot be read, or does not fit the model or the device.
        """
        adapter = self._host.get(where)
        if adapter.size_bytes > self._slots.max_bytes:
            raise AdapterError(
                f"it takes {adapter.size_bytes} bytes; {self._slots.max_bytes} (lora_device_bytes) are the most"
            )
        return adapter.layers

    def forget(self, where: str) -> None:
        """An adapter is no longer on offer; its memory is free once nobody uses it."""
        self._host.forget(where)
        self._slots.clear()

    def leave_device(self) -> None:
        """Let all go that are not in use. For the device's thread."""
        self._slots.clear()

    def statistics(self) -> dict[str, CacheStatistics]:
        """The counters of both caches."""
        return {"lora_device": self._slots.statistics, "lora_host": self._host.statistics}

    def close(self) -> None:
        """Read no more; what waits for a file is to be withdrawn before."""
        self._reads.close()

    def _enter(self, stack: AdapterStack, by_where: Mapping[str, HostAdapter]) -> None:
        scales: dict[HostAdapter, float] = {}  # two names may be of one file
        by_digest: dict[str, HostAdapter] = {}
        for lora in stack.loras:
            adapter = by_where[lora.where]
            first = by_digest.setdefault(adapter.digest, adapter)
            scales[first] = scales.get(first, 0.0) + lora.scale
        stack.warnings = tuple(dict.fromkeys(warning for adapter in by_digest.values() for warning in adapter.warnings))
        stack._scales = list(scales.values())
        stack._visit = Visit(list(scales), stack.begin)
        try:
            self._slots.enter(stack._visit)
        except NeverFitsError as error:
            stack.failed(InvalidArgument("lora", str(error)))
            return
        self._see_to_cancel(stack)

    def _see_to_cancel(self, stack: AdapterStack) -> None:
        """A cancel that came before it waited has found nothing to withdraw."""
        if (cancelled := stack.stop()) and self.withdraw(stack):
            stack.failed(cancelled)


def _unreadable(stack: AdapterStack, where: str, error: BaseException) -> None:
    if isinstance(error, AdapterError):
        name = next(lora.name for lora in stack.loras if lora.where == where)
        refusal = InvalidArgument("lora", f"{name!r} cannot be used: {error}")
        refusal.__cause__ = error
        error = refusal
    stack.failed(error)
