"""Moves tensors between the host and a device without the host waiting for what the device has still to do.

A copy without `non_blocking` waits until all that was queued is done, the forward under way included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import greenlet
import torch


def to_device(value: Any, device: torch.device) -> Any:
    """A value whose tensors of the host lie on `device`, containers included; all else is as it came.

    Args:
        value: a tensor, a list, tuple or dict of values, or anything else.
        device: where the others are; with the CPU nothing is done. For `meta`, without values, no memory is pinned.
    """
    if device.type == "cpu":
        return value
    if isinstance(value, torch.Tensor):
        if value.device.type != "cpu":
            return value
        return value.to(device) if device.type == "meta" else value.pin_memory().to(device, non_blocking=True)
    if type(value) is dict:
        return {name: to_device(part, device) for name, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(to_device(part, device) for part in value)
    return value


class HostCopy:
    """Tensors on their way to the host; those of the host are there.

    Args:
        tensors: of one device, or of the host.
    """

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        self._tensors = [tensor.to("cpu", non_blocking=True) for tensor in tensors]  # into pinned memory
        device = next((tensor.device for tensor in tensors if tensor.device.type != "cpu"), None)
        self._event: Any = None
        if device is not None:
            module = torch.get_device_module(device)
            self._event = module.Event()
            self._event.record(module.current_stream(device))  # else of the thread's own device, which is number 0

    def arrived(self) -> bool:
        """Whether they are there; does not wait."""
        if self._event is not None and self._event.query():
            self._event = None
        return self._event is None

    def wait(self) -> None:
        """Wait until they are there, for all that the device has to do before."""
        if self._event is not None:
            self._event.synchronize()
            self._event = None

    def tensors(self) -> list[torch.Tensor]:
        """The tensors on the host; they have arrived."""
        assert self._event is None
        return self._tensors


def receive(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """The tensors on the host. A run of an executor waits for them alone: others go on with their forwards."""
    copy = HostCopy(tensors)
    if not copy.arrived():
        suspend = getattr(greenlet.getcurrent(), "suspend_until", None)
        if suspend is None:
            copy.wait()
        else:
            suspend(copy)
    return copy.tensors()
