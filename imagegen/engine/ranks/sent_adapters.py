"""Which adapters a rank has, and what it is told of those of a forward."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from weakref import WeakKeyDictionary, finalize

import torch

from imagegen.engine.adapters.adapter import as_pairs
from imagegen.engine.adapters.adapter_table import AdapterTable, ComponentAdapter
from imagegen.engine.packing import Layout, pack
from imagegen.engine.ranks.messages import RankTable


class SentAdapters:
    """What rank 0 knows of the adapters of one other rank.

    An adapter goes there with the first forward that needs it, and leaves after it has left rank 0's device.
    """

    def __init__(self) -> None:
        self._numbers: WeakKeyDictionary[ComponentAdapter, int] = WeakKeyDictionary()
        self._next = itertools.count()
        self._gone: deque[int] = deque()  # filled by whichever thread lets an adapter go

    def missing(
        self, table: AdapterTable | None, device: torch.device
    ) -> Iterator[tuple[ComponentAdapter, Layout, torch.Tensor]]:
        """Those of a forward that the rank has not, packed on `device`; each is to be sent and given to `sent`."""
        for adapter in table.adapters() if table is not None else ():
            if adapter not in self._numbers:
                layout, buffer = pack((adapter.digest, as_pairs(adapter.layers)), device)
                yield adapter, layout, buffer

    def sent(self, adapter: ComponentAdapter) -> int:
        """The number of one that is being sent."""
        number = self._numbers[adapter] = next(self._next)
        finalize(adapter, self._gone.append, number).atexit = False
        return number

    def message(self, table: AdapterTable | None) -> RankTable | None:
        """The table with numbers for adapters, all of which the rank has."""
        if table is None:
            return None
        spans = tuple(
            (start, stop, tuple((self._numbers[adapter], scale) for adapter, scale in updates))
            for start, stop, updates in table.spans
        )
        return RankTable(table.rows, spans, table.whole)

    def forgotten(self) -> tuple[int, ...]:
        """Those that the rank need not keep any longer; each is said once."""
        return tuple(self._gone.popleft() for _ in range(len(self._gone)))
