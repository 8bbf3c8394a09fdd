"""The one thread that owns the device: it runs the hub for as long as there are images to draw."""

from __future__ import annotations

import logging
import threading

import torch

from imagegen.api.errors import InternalError, Unavailable
from imagegen.engine.executor import Hub
from imagegen.engine.generation_job import Order

_log = logging.getLogger(__name__)


class DeviceThread:
    """Runs a hub on a thread of its own.

    A hub that breaks fails every request it holds with a clear error and goes on with an empty one.

    Args:
        hub: the hub; from now on touched by this thread alone, but for `Hub.submit`.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._wake = threading.Event()
        self._closing = False
        self._abandon = False
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)
        self._thread.start()

    def submit(self, order: Order) -> None:
        """Have an order drawn."""
        for image in order.images():
            self._hub.submit(image)
        self._wake.set()

    def close(self, drain_timeout_s: float) -> None:
        """Finish what is being drawn, at most for `drain_timeout_s` seconds; then refuse the rest and end."""
        self._closing = True
        self._wake.set()
        self._thread.join(drain_timeout_s)
        self._abandon = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        # Per thread, and once for all: a pipeline's own `no_grad` ends would otherwise switch gradients on for
        # the images that are still being drawn.
        torch.set_grad_enabled(False)
        while not self._abandon:
            try:
                worked = self._hub.tick()
            except BaseException:
                _log.exception("the hub broke; its requests fail and it starts again")
                self._hub.abandon(InternalError("the engine had to start again; send the request again"))
                continue
            if not worked:
                if self._closing:
                    break
                self._wake.wait()
                self._wake.clear()
        self._hub.abandon(Unavailable("the server is shutting down"))
