"""Preempts a long forward, encode or decode between two of its layers, so that others need not wait for all of it.

    a layer begins -> the work has had its time slice -> `Executor.give_way` -> others -> the layer

The values are the same as without: whoever is let in has tensors of its own. On a GPU calls only queue work, and what
is queued cannot be preempted; so the host stays about a slice before the device, and waits for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import greenlet
import torch

from imagegen.engine.device_clock import mark, wait_until
from imagegen.engine.forward_costs import ForwardCosts
from imagegen.engine.scheduler import Rest

LONG_S = 0.02
"""Work that takes less is left alone."""

SLICE_S = 0.01
"""How long work has the device before it gives way."""

_LOOKS = 4  # in a slice, where layers are as short: a hook on each of thousands would cost milliseconds
_AHEAD = 2  # looks for whose layers a GPU has work while the host waits for it; so it is never idle

_leaves: WeakKeyDictionary[Any, list[Any]] = WeakKeyDictionary()


class Preemption:
    """Makes the long work of one device preemptible, and learns which is long.

    Args:
        costs: what work takes.
        device: where it is done.
    """

    def __init__(self, costs: ForwardCosts, device: torch.device) -> None:
        self._costs = costs
        self._device = device

    @contextmanager
    def around(self, network: Any, key: Hashable, rows: int, rest_key: Hashable, pixels: int = 0) -> Iterator[None]:
        """Around one run of a network, which is timed; preemptible in a greenlet of an executor, unless it is short.

        Args:
            network: an eager torch module; of a compiled one nothing can be preempted.
            key: by which its cost is remembered.
            rows: of the forward.
            rest_key: the batch key of its rest.
            pixels: of the forward.
        """
        here: Any = greenlet.getcurrent()
        seconds = self._costs.seconds(key, rows)
        give_way = getattr(here, "give_way", None)
        with self._costs.timed(key, rows) as timing:
            if give_way is None or (seconds is not None and seconds < LONG_S):
                yield
                return
            layers = _layers(network)
            layers = layers[:: max(1, int(len(layers) * SLICE_S / _LOOKS / seconds))] if seconds else layers
            work = here.long_work = _LongWork(give_way, self._device, len(layers), (rest_key, rows, pixels))
            hooks = [layer.register_forward_pre_hook(_layer_begins) for layer in layers]
            try:
                yield
            finally:
                here.long_work = None
                for hook in hooks:
                    hook.remove()
            timing.seconds = work.preempted_s()


@contextmanager
def taken_back(take_back: Callable[[], None], put: Callable[[], None]) -> Iterator[None]:
    """While long work is preempted in this context, something that it has put on a shared module is taken back.

    Args:
        take_back: called before others have the device.
        put: called before the work goes on.
    """
    work = getattr(greenlet.getcurrent(), "long_work", None)
    if work is None:
        yield
        return
    work.shared.append((take_back, put))
    try:
        yield
    finally:
        work.shared.pop()


class _LongWork:
    """One run of a network in a greenlet."""

    def __init__(
        self,
        give_way: Callable[[Rest], bool],
        device: torch.device,
        layers: int,
        of_rest: tuple[Hashable, int, int],
    ) -> None:
        self.shared: list[tuple[Callable[[], None], Callable[[], None]]] = []
        self._give_way = give_way
        self._device = device
        self._layers = layers
        self._of_rest = of_rest
        self._begun = 0  # of the layers that have a hook
        self._used_s = 0.0  # before it was preempted last
        self._went_on_s = time.perf_counter()
        self._mark: Any = None

    def layer_begins(self) -> None:
        """Give way if it is time."""
        self._begun += 1
        if self._begun % _AHEAD == 0:
            if self._mark is not None:
                wait_until(self._mark)
            self._mark = mark(self._device)
        piece_s = time.perf_counter() - self._went_on_s
        if piece_s < SLICE_S:
            return
        used_s = self._used_s + piece_s
        done = self._begun - 1
        left_s = used_s * (self._layers - done) / done if 0 < done < self._layers else used_s  # it may tile
        for take_back, _ in self.shared:
            take_back()
        preempted = self._give_way(Rest(*self._of_rest, used_s=piece_s, left_s=left_s))
        for _, put in self.shared:
            put()
        if preempted:
            self._used_s = used_s
            self._went_on_s = time.perf_counter()

    def preempted_s(self) -> float | None:
        """Seconds that it had the device; None where it was never preempted."""
        return self._used_s + time.perf_counter() - self._went_on_s if self._used_s else None


def _layer_begins(layer: Any, args: Any) -> None:
    work = getattr(greenlet.getcurrent(), "long_work", None)
    if work is not None:
        work.layer_begins()


def _layers(network: Any) -> list[Any]:
    """The modules of a network that have none themselves."""
    if network not in _leaves:
        _leaves[network] = [module for module in network.modules() if next(module.children(), None) is None]
    return _leaves[network]
