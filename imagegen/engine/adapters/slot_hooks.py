"""Updates of adapters in compiled forwards: of one fixed shape, whichever adapters and rows there are.

A compiled forward ignores hooks that come after it was compiled, and is compiled anew for each other partition of its
rows. So every layer has its hook from the start, and computes the updates of all *slots* for all rows:

    layer(x) + up (mask * (down x))     down [slots * rank, in], mask [rows, slots * rank], up [out, slots * rank]

An adapter is copied into a slot; a row's mask has its scale in that slot and 0 in all others. There are two graphs of
each number of rows, without adapters and with some, and no other for whatever comes or goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import ref

import torch
from torch import nn
from torch.nn import functional

from imagegen.engine.adapters.adapter_table import AdapterTable, ComponentAdapter
from imagegen.engine.adapters.span_hooks import layer_input, tokens_a_row
from imagegen.engine.transfer import to_device


@dataclass(eq=False)
class _Slots:
    """The matrices of all slots for one layer; of a convolution with its own last dimensions.

    Attributes:
        down: [slots * rank, in, ...].
        up: [out, slots * rank, ...].
    """

    down: torch.Tensor
    up: torch.Tensor


class _State:
    """What the hooks of one network read while they are traced.

    Attributes:
        active: whether there are adapters in the forward that runs.
        whole: all its rows get the same; read only by layers that do not have the rows first.
        mask: [rows, slots * rank].
        layers: by name.
    """

    def __init__(self) -> None:
        self.active = False
        self.whole = False
        self.mask: torch.Tensor | None = None
        self.layers: dict[str, _Slots] = {}


class SlotHooks:
    """The hooks on all linear layers and convolutions of one network.

    The slots take memory from the first adapter on. There are never more different adapters in a forward than slots:
    whoever lets them onto the device sees to that.

    Args:
        module: the network, not compiled yet.
        count: how many slots.
        rank: of each; an adapter of less leaves the rest 0.
        tokens_behind_each_other: as for `SpanHooks`.
    """

    def __init__(self, module: Any, count: int, rank: int, *, tokens_behind_each_other: bool = False) -> None:
        self._count = count
        self._rank = rank
        self._state = _State()
        self._slots: list[ref[ComponentAdapter] | None] = [None] * count  # who has left the device is not kept
        for name, layer in _touchable(module):
            hook = _hook(self._state, name, many=tokens_behind_each_other)
            layer.register_forward_hook(hook, with_kwargs=True)

    def begin(self, module: Any, table: AdapterTable) -> None:
        """A forward of the network, with this table, comes next."""
        if not self._state.layers:
            self._state.layers = {name: self._empty(layer) for name, layer in _touchable(module)}
        used = {ref(adapter): adapter for adapter in table.adapters()}
        for reference, adapter in used.items():
            if reference not in self._slots:
                free = next(place for place, held in enumerate(self._slots) if held not in used)
                self._fill(free, adapter)
        self._state.mask = self._mask(table)
        self._state.whole = table.whole
        self._state.active = True

    def end(self) -> None:
        """The forward has ended."""
        self._state.active = False
        self._state.mask = None

    def free(self) -> None:
        """Give the memory of the slots back, until the next adapter comes."""
        self._state.layers = {}
        self._slots = [None] * self._count

    def _empty(self, layer: Any) -> _Slots:
        weight, width = layer.weight, self._count * self._rank
        return _Slots(
            weight.new_zeros(width, *weight.shape[1:]),
            weight.new_zeros(weight.shape[0], width, *[1] * (weight.ndim - 2)),
        )

    def _fill(self, slot: int, adapter: ComponentAdapter) -> None:
        """Copy an adapter into a slot; what another one had there is gone."""
        first = slot * self._rank
        for name, slots in self._state.layers.items():
            slots.down[first : first + self._rank].zero_()
            slots.up[:, first : first + self._rank].zero_()
            low_rank = adapter.layers.get(name)
            if low_rank is not None:
                slots.down[first : first + low_rank.rank].copy_(low_rank.down)
                slots.up[:, first : first + low_rank.rank].copy_(low_rank.up)
        self._slots[slot] = ref(adapter)

    def _mask(self, table: AdapterTable) -> torch.Tensor:
        """The scales, on the host until the whole of it is known."""
        mask = torch.zeros(table.rows, self._count, self._rank)
        for start, stop, updates in table.spans:
            for adapter, scale in updates:
                mask[start:stop, self._slots.index(ref(adapter))] += scale
        if table.whole and table.spans:  # padding too
            mask[:] = mask[:1]
        some = next(iter(self._state.layers.values())).down
        moved: torch.Tensor = to_device(mask.flatten(1).to(some.dtype), some.device)
        return moved


def _touchable(module: Any) -> list[tuple[str, Any]]:
    return [
        (name, layer)
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
    ]


def _hook(state: _State, name: str, *, many: bool) -> Any:
    def add_updates(layer: Any, args: Any, kwargs: Any, output: torch.Tensor) -> torch.Tensor | None:
        if not state.active:
            return None
        assert state.mask is not None
        slots = state.layers[name]
        given = layer_input(args, kwargs)
        mask = state.mask
        rows = mask.shape[0]
        if given.shape[0] != rows and state.whole:  # all rows of the mask are the same
            mask = mask[:1].expand(given.shape[0], -1)
        elif given.shape[0] != rows:
            mask = mask.repeat_interleave(tokens_a_row(name, given, rows, behind_each_other=many), 0)
        given = given.to(slots.down.dtype)
        if slots.down.ndim == 4:
            inner = functional.conv2d(given, slots.down, None, layer.stride, layer.padding, layer.dilation)
            inner = inner * mask.to(inner.dtype)[:, :, None, None]
            return output + functional.conv2d(inner, slots.up).to(output.dtype)
        inner = functional.linear(given, slots.down)  # [rows, ..., slots * rank]
        shape = (mask.shape[0], *[1] * (inner.ndim - 2), mask.shape[1])
        return output + functional.linear(inner * mask.to(inner.dtype).view(shape), slots.up).to(output.dtype)

    return add_updates
