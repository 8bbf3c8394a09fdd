"""A device's clock beside its host's, both computed: how long would the device wait for the host?"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry


@dataclass
class Clock:
    """Seconds on the host and on the device. Work starts on the device when both it and its launch are there.

    Attributes:
        launch_s: of the host, for each launch.
        flops_per_s, bytes_per_s: what the device does; an operation takes as long as the slower of the two.
        host_s, device_s: where each of them is; the device's is the end of all that was queued.
        idle_s: of the device, between the end of one operation and the launch of the next.
    """

    launch_s: float = 5e-6
    flops_per_s: float = 1e14
    bytes_per_s: float = 1e12
    host_s: float = 0.0
    device_s: float = 0.0
    idle_s: float = 0.0

    def launch(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any, moved_bytes: int) -> None:
        """An operation is queued.

        Args:
            func: the operation, of which torch may know how many FLOPs it takes.
            args, kwargs, result: on the host.
            moved_bytes: of all its tensors.
        """
        self.host_s += self.launch_s
        count = flop_registry.get(getattr(func, "overloadpacket", func))
        flops = float(count(*args, **kwargs, out_val=result)) if count is not None else _elements(result)
        self.queue(max(flops / self.flops_per_s, moved_bytes / self.bytes_per_s))

    def queue(self, seconds: float) -> None:
        """Let the device work for so long, from when the host is now."""
        if self.host_s > self.device_s:
            self.idle_s += self.host_s - self.device_s
            self.device_s = self.host_s
        self.device_s += seconds

    def synchronise(self) -> None:
        """The host waits for the device."""
        self.host_s = max(self.host_s, self.device_s)


def _elements(result: Any) -> float:
    if isinstance(result, torch.Tensor):
        return float(prod(result.shape))
    return float(sum(map(_elements, result))) if isinstance(result, list | tuple) else 0.0
