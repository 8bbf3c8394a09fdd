"""What a forward of one rank gave: its output, or the exception that it raised."""

from __future__ import annotations

from typing import Any

import torch

from imagegen.engine.adapters.adapter_table import AdapterTable
from imagegen.engine.adapters.row_updates import applied
from imagegen.engine.device_clock import wait_for_device
from imagegen.engine.worker.device_faults import end_after_fatal_fault


def outcome_of(
    module: Any,
    args: Any,
    kwargs: dict[str, Any],
    table: AdapterTable | None = None,
    awaited: torch.device | None = None,
) -> Any:
    """A module's output, or the exception that it raised.

    Args:
        module, args, kwargs: what is called.
        table: what adapters add to its rows.
        awaited: a device that has to have done it; None where nobody need wait.
    """
    try:
        with applied(module, table):
            output = module(*args, **kwargs)
        if awaited is not None:
            wait_for_device(awaited)
    except Exception as error:
        end_after_fatal_fault(error)  # before it is seen as a group that is lost
        return error
    return output


def raise_first(outcomes: list[Any]) -> None:
    """Raise the first exception, and keep none: with its traceback it holds all tensors of the failed forward."""
    error = next((outcome for outcome in outcomes if isinstance(outcome, Exception)), None)
    if error is not None:
        outcomes.clear()
        try:
            raise error
        finally:
            del error
