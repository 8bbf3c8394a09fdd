"""An adapter on the device."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from imagegen.engine.adapters.adapter_table import ComponentAdapter
from imagegen.engine.adapters.host_adapters import HostAdapter
from imagegen.engine.transfer import to_device


class PlacedAdapter:
    """Holds a place on the device for an adapter, which comes there when it is first asked for.

    On the device's thread, between two forwards: the copy is queued behind what the device has to do, and nobody waits
    for it. Its memory is free when the last one that holds this has let it go.

    Args:
        host: the adapter.
        device: where it is to be; on the host it stays where it is.
    """

    def __init__(self, host: HostAdapter, device: torch.device) -> None:
        self._host: HostAdapter | None = host
        self._device = device
        self._components: Mapping[str, ComponentAdapter] = {}

    def components(self) -> Mapping[str, ComponentAdapter]:
        """Its parts on the device, by component. For the device's thread."""
        if self._host is not None:
            layers = self._host.unpacked(to_device(self._host.buffer, self._device))
            self._components = {name: ComponentAdapter(self._host.digest, part) for name, part in layers.items()}
            self._host = None  # so that the host's memory is bounded by the host's cache
        return self._components
