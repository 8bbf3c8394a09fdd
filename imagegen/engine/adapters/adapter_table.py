"""Which rows of a forward get which updates of adapters: said with each forward, as timesteps are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from imagegen.engine.adapters.adapter import LowRank


@dataclass(frozen=True, eq=False)
class ComponentAdapter:
    """The part of an adapter that is for one component, on the component's device.

    Attributes:
        digest: of the adapter's file.
        layers: by their names in the component.
    """

    digest: str
    layers: Mapping[str, LowRank]


Updates: TypeAlias = tuple[tuple[ComponentAdapter, float], ...]
"""What a request adds to a component: adapters with their scales."""


def content_of(updates: Updates) -> tuple[tuple[str, float], ...]:
    """What updates are by content: the same for an adapter that has left the device and come back."""
    return tuple((adapter.digest, scale) for adapter, scale in updates)


@dataclass(frozen=True)
class AdapterTable:
    """Which rows of a forward get which updates.

    Attributes:
        rows: of the forward, padding included.
        spans: (first row, row after the last, updates), in order.
        whole: all rows get the same updates, whatever a layer works on.
    """

    rows: int
    spans: tuple[tuple[int, int, Updates], ...]
    whole: bool

    def adapters(self) -> dict[ComponentAdapter, None]:
        """Each once, in the order in which they are met."""
        return {adapter: None for _, _, updates in self.spans for adapter, _ in updates}

    def part(self, start: int, stop: int) -> AdapterTable | None:
        """The table of some of the rows."""
        cut = ((max(first, start) - start, min(end, stop) - start, updates) for first, end, updates in self.spans)
        spans = tuple((first, end, updates) for first, end, updates in cut if first < end)
        whole = self.whole or (len(spans) == 1 and spans[0][:2] == (0, stop - start))
        return AdapterTable(stop - start, spans, whole) if spans else None


def adapter_table(calls: Sequence[tuple[int, Updates]], total: int, *, separate: bool = False) -> AdapterTable | None:
    """The table of a forward.

    Args:
        calls: rows and updates of each call, in the order of their rows.
        total: rows of the forward; those behind the calls' are padding and get no updates.
        separate: each call's rows are computed by themselves, so that their bits do not depend on its neighbours; else
            those of neighbours with the same updates together.

    Returns:
        the table; None where no call has updates.
    """
    spans: list[tuple[int, int, Updates]] = []
    row = 0
    for rows, updates in calls:
        last = spans[-1] if spans else None
        if updates and last is not None and not separate and last[2] == updates and last[1] == row:
            spans[-1] = (last[0], row + rows, updates)
        elif updates:
            spans.append((row, row + rows, updates))
        row += rows
    if not spans:
        return None
    whole = len(spans) == 1 and spans[0][:2] == (0, row) and (row == total or not separate)
    return AdapterTable(total, tuple(spans), whole)
