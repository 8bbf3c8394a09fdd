"""The one thread that owns the device: it runs the executor for as long as there are images to generate."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import torch

from imagegen.api.errors import InternalError, Unavailable
from imagegen.engine.executor import Executor
from imagegen.engine.generation_job import GenerationJob

_log = logging.getLogger(__name__)

_IDLE_S = 1.0  # between two signs of life while there is nothing to do


class DeviceThread:
    """Runs an executor on a thread of its own.

    An executor that breaks fails every request it holds with a clear error and goes on with an empty one.

    Args:
        executor: from now on touched by this thread alone, but for `Executor.submit`.
        on_alive: called after each tick, and every second while there is nothing to do.
        device: what torch takes to be meant on the thread where no device is named.
    """

    def __init__(
        self,
        executor: Executor,
        on_alive: Callable[[], None] = lambda: None,
        device: torch.device | None = None,
    ) -> None:
        self._executor = executor
        self._device = device
        self._on_alive = on_alive
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._ended = False
        self._closing = False
        self._abandon = False
        self._thread = threading.Thread(target=self._run, name="device", daemon=True)
        self._thread.start()

    def submit(self, job: GenerationJob) -> None:
        """Have the images of a job generated.

        Raises:
            Unavailable: the thread has ended.
        """
        with self._lock:
            if self._ended:
                raise Unavailable("the server is shutting down")
            for run in job.runs():
                self._executor.submit(run)
        self._wake.set()

    def close(self, drain_timeout_s: float) -> None:
        """Finish what has been submitted, at most for `drain_timeout_s` seconds; then refuse the rest and end."""
        self._closing = True
        self._wake.set()
        self._thread.join(drain_timeout_s)
        self._abandon = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        # Per thread, and once for all: a pipeline's own `no_grad` ends would otherwise switch gradients on for
        # the images that are still being generated.
        torch.set_grad_enabled(False)
        if self._device is not None and self._device.type == "cuda" and self._device.index is not None:
            torch.cuda.set_device(self._device)
        while not self._abandon:
            try:
                worked = self._executor.tick()
            except BaseException:
                _log.exception("the executor broke; its requests fail and it starts again")
                self._executor.abandon(InternalError("the engine had to start again; send the request again"))
                continue
            self._on_alive()
            if not worked:
                if self._closing:
                    break
                self._wake.wait(_IDLE_S)
                self._wake.clear()
        with self._lock:
            self._ended = True
        self._executor.abandon(Unavailable("the server is shutting down"))
