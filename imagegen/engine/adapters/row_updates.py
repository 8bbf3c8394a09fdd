"""What adapters add to the layers of a network: for each row of a forward what its own request asked for.

    calls with their updates -> AdapterTable -> hooks on the layers, for that forward

Eager networks have hooks on the layers that an adapter touches (`span_hooks`), compiled ones on all of them, from
before they were compiled (`slot_hooks`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from imagegen.engine.adapters.adapter_table import AdapterTable
from imagegen.engine.adapters.slot_hooks import SlotHooks
from imagegen.engine.adapters.span_hooks import SpanHooks
from imagegen.engine.preemption import taken_back

_log = logging.getLogger(__name__)

# Networks that work on the tokens of all rows behind each other in some layers, as many of each row.
_TOKENS_BEHIND_EACH_OTHER = ("ZImageTransformer2DModel", "ZImageControlNetModel")

_hooks: WeakKeyDictionary[Any, SpanHooks | SlotHooks] = WeakKeyDictionary()
_rows_not_first: WeakSet[Any] = WeakSet()


def mixes_rows(module: Any) -> bool:
    """Whether rows with different updates can share a forward of this network, as far as is known."""
    return module not in _rows_not_first


def rows_not_first(module: Any) -> None:
    """Take note that rows with different updates cannot share a forward of this network."""
    if module not in _rows_not_first:
        _rows_not_first.add(module)
        _log.warning(
            "layers of %s do not have rows first: only requests with the same adapters share its forwards",
            type(module).__name__,
        )


def use_slots(module: Any, count: int, rank: int) -> None:
    """Have a network that will be compiled take adapters without being compiled anew; before its first forward.

    Args:
        module: the network.
        count: most different adapters of a forward.
        rank: the largest of an adapter.
    """
    _hooks[module] = SlotHooks(module, count, rank, tokens_behind_each_other=_flattens(module))


def free_slots(module: Any) -> None:
    """Give the memory back that a compiled network holds for adapters, until the next one comes."""
    hooks = _hooks.get(module)
    if isinstance(hooks, SlotHooks):
        hooks.free()


@contextmanager
def applied(module: Any, table: AdapterTable | None) -> Iterator[None]:
    """Around a forward of `module`, whose rows get the updates of `table`. One forward of a network at a time;
    one that is preempted is none meanwhile.

    Raises:
        RowsNotFirstError: in the forward, where rows have different updates and a layer cannot tell rows apart.
    """
    if table is None:
        yield
        return
    hooks = _hooks.get(module)
    if hooks is None:
        hooks = _hooks[module] = SpanHooks(tokens_behind_each_other=_flattens(module))
    hooks.begin(module, table)
    try:
        with taken_back(hooks.end, partial(hooks.begin, module, table)):
            yield
    finally:
        hooks.end()


def _flattens(module: Any) -> bool:
    return type(module).__name__ in _TOKENS_BEHIND_EACH_OTHER
