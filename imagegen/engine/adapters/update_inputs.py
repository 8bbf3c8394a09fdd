"""Updates of adapters as inputs of a compiled forward, so that one piece of code is for whatever comes and goes.

The adapters on the device lie behind each other, line by line. A *line* is a row of `down` and the column of `up` that
belongs to it; the lines of a row of the forward are those of its own adapters:

    layer(x) + (x down[lines]^T) (scales up[lines])     down [all, in], up [all, out]; lines, scales [rows, most]

Only a row's own lines are computed for it. No number of them is part of the code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import ref

import torch
from torch import nn
from torch.export import Dim
from torch.nn import functional

from imagegen.engine.adapters.adapter_table import AdapterTable, ComponentAdapter
from imagegen.engine.adapters.span_hooks import RowsNotFirstError, layer_input
from imagegen.engine.transfer import to_device

LayerNames = tuple[str, ...]

_LEAST = 2  # lines: torch takes 0 and 1 of an example for constants


@dataclass(frozen=True)
class _Place:
    """Where an adapter lies in all matrices.

    Attributes:
        start: its first line.
        count: of its lines, which is its largest rank; a layer of less has zeros there.
    """

    start: int
    count: int


class UpdateInputs:
    """The tensors that say to a compiled forward what adapters add.

    Holds copies of all matrices on the device, of adapters that are or have been there since the last new one came.

    Args:
        layers: that the code has updates for, by their names in the network.
    """

    def __init__(self, layers: LayerNames) -> None:
        self._layers = layers
        self._known = frozenset(layers)
        self._places: dict[ref[ComponentAdapter], _Place] = {}  # who has left the device is not kept
        self._matrices: list[torch.Tensor] = []

    def fit(self, table: AdapterTable) -> bool:
        """Whether all layers of all adapters of a forward are among those that the code has updates for."""
        return all(adapter.layers.keys() <= self._known for adapter in table.adapters())

    def tensors(self, module: Any, table: AdapterTable) -> list[torch.Tensor]:
        """Of a forward with this table, in the order that `take_updates` has.

        Args:
            module: the network.
            table: whose adapters `fit`.
        """
        wanted = {ref(adapter): adapter for adapter in table.adapters()}
        if not wanted.keys() <= self._places.keys():
            # With those that are still on the device: batches of different adapters may take turns.
            here = ((place, place()) for place in self._places)
            self._lay_out({place: adapter for place, adapter in here if adapter is not None} | wanted, module)
        spans = [
            (slice(start, stop), [(self._places[ref(adapter)], scale) for adapter, scale in updates])
            for start, stop, updates in table.spans
        ]
        most = max([_LEAST, *(sum(place.count for place, _ in places) for _, places in spans)])
        lines, scales = torch.zeros(table.rows, most, dtype=torch.int64), torch.zeros(table.rows, most)
        for rows, places in spans:
            first = 0
            for place, scale in places:
                own = slice(first, first + place.count)
                lines[rows, own] = torch.arange(place.start, place.start + place.count)
                scales[rows, own] = scale
                first += place.count
        if table.whole:  # padding too
            lines[:], scales[:] = lines[:1].clone(), scales[:1].clone()
        device = self._matrices[0].device
        return [*to_device((lines, scales), device), *self._matrices]

    def free(self) -> None:
        """Give the memory of the matrices back, until the next adapter comes."""
        self._places, self._matrices = {}, []

    def _lay_out(self, adapters: dict[ref[ComponentAdapter], ComponentAdapter], module: Any) -> None:
        """Copy adapters into matrices that have room for all of them."""
        self.free()  # the room of the old ones may be needed
        places, matrices, count = {}, [], 0
        for reference, adapter in adapters.items():
            rank = max((low_rank.rank for low_rank in adapter.layers.values()), default=0)
            places[reference] = _Place(count, rank)
            count += rank
        for name in self._layers:
            down, up = empty_matrices(module.get_submodule(name), max(count, _LEAST))
            for reference, adapter in adapters.items():
                low_rank = adapter.layers.get(name)
                if low_rank is not None:
                    lines = slice(places[reference].start, places[reference].start + low_rank.rank)
                    down[lines].copy_(low_rank.down)
                    up[lines].copy_(low_rank.up.flatten(1).t())
            matrices += [down, up]
        self._places, self._matrices = places, matrices  # not before all of them are there


def empty_matrices(layer: Any, lines: int) -> tuple[torch.Tensor, torch.Tensor]:
    """For so many lines of a layer, of zeros: down [lines, in, ...], as its weight, and up [lines, out]."""
    weight = layer.weight
    return weight.new_zeros(lines, *weight.shape[1:]), weight.new_zeros(lines, weight.shape[0])


def examples(module: nn.Module, layers: LayerNames, rows: int, device: torch.device) -> list[torch.Tensor]:
    """Tensors as `UpdateInputs` gives them, with which the network can be exported."""
    lines, scales = torch.zeros(rows, _LEAST + 1, dtype=torch.int64), torch.zeros(rows, _LEAST + 1)
    # Another number than that of a row's lines, which torch would take for the same one.
    matrices = [matrix for name in layers for matrix in empty_matrices(module.get_submodule(name), _LEAST + 2)]
    return [lines.to(device), scales.to(device), *matrices]


def dynamic_dimensions(layers: LayerNames) -> list[dict[int, Any]]:
    """Of each of these tensors, which of its dimensions may be of any length."""
    every = Dim("every_line", min=_LEAST)  # one for all, else the compiler has to cope with hundreds
    return [{0: Dim.DYNAMIC, 1: Dim.DYNAMIC}] * 2 + [{0: every}] * 2 * len(layers)


def take_updates(module: nn.Module, layers: LayerNames) -> Callable[[Sequence[torch.Tensor]], None]:
    """Have the layers of a network that is to be exported add what its forward's tensors say.

    Args:
        module: the network.
        layers: those that do.

    Returns:
        a function to be called with those tensors at the beginning of each forward, which raises `RowsNotFirstError`
        where a layer cannot tell rows apart.
    """
    given: list[torch.Tensor] = []
    for place, name in enumerate(layers):
        module.get_submodule(name).register_forward_hook(_hook(given, 2 + 2 * place, name), with_kwargs=True)

    def take(tensors: Sequence[torch.Tensor]) -> None:
        given[:] = tensors

    return take


def _hook(tensors: list[torch.Tensor], place: int, name: str) -> Any:
    def add_updates(layer: Any, args: Any, kwargs: Any, output: torch.Tensor) -> torch.Tensor:
        lines, scales = tensors[:2]  # [rows, most lines of a row]
        down, up = tensors[place : place + 2]
        given = layer_input(args, kwargs).to(down.dtype)
        rows, count = lines.shape
        if given.shape[0] != rows:
            raise RowsNotFirstError(f"layer {name} works on {given.shape[0]} rows in a forward of {rows}")
        own_down = down.flatten(1).index_select(0, lines.flatten()).view(rows, count, -1)
        own_up = up.index_select(0, lines.flatten()).view(rows, count, -1) * scales.to(up.dtype)[:, :, None]
        if down.ndim == 4:
            update = own_up.transpose(1, 2) @ (own_down @ _columns(layer, given))  # [rows, out, places]
        else:
            update = given.reshape(rows, -1, given.shape[-1]) @ own_down.transpose(1, 2) @ own_up
        return output + update.view(output.shape).to(output.dtype)

    return add_updates


def _columns(layer: Any, image: torch.Tensor) -> torch.Tensor:
    """What a convolution is multiplied with at each of its places: [rows, in x height x width, places].

    A compiled convolution has the number of its lines in its code, whatever torch is told, and the product has not.
    """
    if layer.kernel_size == layer.stride == (1, 1) and layer.padding == (0, 0):
        return image.flatten(2)
    return functional.unfold(image, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
