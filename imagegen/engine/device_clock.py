"""Moments on a device: on a GPU by its own clock, for calls only queue work there."""

from __future__ import annotations

import time
from typing import Any

import torch


def mark(device: torch.device) -> Any:
    """The moment at which all that was given to the device before is done."""
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event


def has_passed(moment: Any) -> bool:
    """Whether the device has got as far as a mark."""
    return isinstance(moment, float) or bool(moment.query())


def wait_until(moment: Any) -> None:
    """Wait until the device has got as far as a mark."""
    if not isinstance(moment, float):
        moment.synchronize()


def seconds_between(before: Any, after: Any) -> float:
    """From one mark to a later one of the same device; both have passed."""
    return float(after - before if isinstance(after, float) else before.elapsed_time(after) / 1000)


def wait_for_device(device: torch.device) -> None:
    """Wait until a device has done what it was given; the host's own is done when it returns.

    Else a GPU fails, or waits for other ranks, when nobody looks.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
