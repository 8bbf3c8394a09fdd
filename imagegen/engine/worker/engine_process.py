"""The engine in a process of its own: that it dies is nobody's end, and it is started again.

caller's thread     wait for a slot, send the request
watch's thread      messages of the process -> results, events, metrics; its end -> an error for all it had, a new one
response threads    respond
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from imagegen.api.events import Event
from imagegen.api.input_images import InputImages
from imagegen.api.request import ImageRequest
from imagegen.backoff import USUAL_BACKOFF
from imagegen.engine.cancellation import CancelToken
from imagegen.engine.image_generator import ImageGenerator, Respond
from imagegen.engine.metric_families import NewSeries, discard
from imagegen.engine.settings import EngineSettings
from imagegen.engine.worker.messages import (
    Alive,
    Asleep,
    Close,
    Closed,
    Counted,
    Frames,
    FromWorker,
    Load,
    LoadFailed,
    LoraReply,
    Ready,
    frames_of,
    message_from_worker,
)
from imagegen.engine.worker.remote_loras import RemoteLoras
from imagegen.engine.worker.remote_metrics import RemoteMetrics
from imagegen.engine.worker.remote_requests import RemoteRequest, RemoteRequests
from imagegen.engine.worker.sleep_control import SleepControl
from imagegen.engine.worker.worker_process import WorkerProcess
from imagegen_client import ModelDescription

_BACKOFF = USUAL_BACKOFF
_EXIT_S = 10.0  # beyond the drain

_log = logging.getLogger(__name__)


class EngineProcess(ImageGenerator[RemoteRequest]):
    """Generates images as `Engine` does, in a process of its own, warmed up.

    When that process ends, whatever for, the requests that it had end with `Unavailable`, those that wait go on
    waiting, and it is started again: at once if it has finished a request or lived for a minute, else after 1, 2, 4 …
    60 s. A request that was there twice when it ended, alone or repeated with its seed, is refused for ten minutes. All
    methods but `close` are safe from any thread.

    Args:
        settings: which checkpoint, and how its device is shared.
        model_folder: where a relative `settings.model` starts; None for the working directory.
        device: of the setting "auto", as torch names it; None for a GPU where there is one.
        run_folder: for two sockets; its path has ninety characters at most. None for a temporary one.
        new_series: as for `Engine`.
        on_alive: called on a thread after each round of steps, and every second while there is nothing to do.
        on_lost: called on the same thread when the process has ended.

    Attributes:
        description: of the checkpoint, as it was warmed up.

    Raises:
        OSError: there is no such checkpoint.
        ValueError: the checkpoint or a setting does not fit.
        RuntimeError: something else went wrong while it was loaded.
    """

    def __init__(
        self,
        settings: EngineSettings,
        *,
        model_folder: Path | None = None,
        device: str | None = None,
        run_folder: Path | None = None,
        new_series: NewSeries = discard,
        on_alive: Callable[[], None] = lambda: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._model_folder = (model_folder or Path()).resolve()
        super().__init__(settings, self._model_folder)
        self._device = device
        self._own_folder = None if run_folder else Path(tempfile.mkdtemp(prefix="imagegen-engine-"))
        self._folder = run_folder or self._own_folder or Path()
        self._on_alive = on_alive
        self._on_lost = on_lost
        self._metrics = RemoteMetrics(new_series)
        self._requests = RemoteRequests(settings.max_active_requests, self._metrics, lambda: self._sleep.arrived())
        self.line = self._requests.line
        self._sleep = SleepControl(settings, self.line, self._metrics, lambda: self._worker)
        self._closing = threading.Event()
        self._worker: WorkerProcess | None = None
        self._loras = RemoteLoras(lambda: None if self._worker is None else self._worker.send)
        self._first: Future[ModelDescription] = Future()
        self._thread = threading.Thread(target=self._run, name="engine-process", daemon=True)
        self._thread.start()
        try:
            self.description = self._first.result()
        except BaseException:
            self.close()
            raise

    @property
    def granularity_px(self) -> int:
        """Both sides of an image are multiples of this."""
        return self.description.granularity_px

    @property
    def pid(self) -> int | None:
        """Of the engine's process; None while there is none."""
        worker = self._worker
        return None if worker is None else worker.pid

    def new_request(
        self,
        asked: ImageRequest,
        images: InputImages,
        previews: int,
        respond: Respond,
        *,
        token: CancelToken,
        publish: Callable[[Event], None] | None = None,
        arrived_s: float | None = None,
        entered_s: float | None = None,
    ) -> RemoteRequest:
        """See `ImageGenerator`. What only the checkpoint knows is checked once the request has a slot."""
        return RemoteRequest(
            asked,
            images,
            respond,
            token,
            time.monotonic() if arrived_s is None else arrived_s,
            math.inf if entered_s is None else entered_s,
            publish,
            previews,
        )

    @property
    def sleeping(self) -> int:
        """See `ImageGenerator`. One whose process ends while it sleeps at level 1 sleeps at level 2."""
        return self._sleep.level

    def sleep(self, level: int = 1) -> None:
        """See `ImageGenerator`; at level 2 the process ends."""
        self._sleep.sleep(level)

    def wake(self) -> None:
        """See `ImageGenerator`. Where it fails the process is started again, as after any end, until it succeeds."""
        self._sleep.wake()

    def _check_lora(self, name: str, where: str) -> None:
        self._loras.load(name, where)

    def _forget_lora(self, name: str, where: str) -> None:
        self._loras.unload(name)

    def close(self) -> None:
        """Finish what is being generated within `drain_timeout_s`, refuse the rest; of no effect the second time."""
        self.line.slots.close()
        if not self._closing.is_set():
            self._closing.set()
            self._sleep.close()
            worker = self._worker
            if worker is not None:
                worker.send(frames_of(Close()))
        self._thread.join(self.settings.drain_timeout_s + _EXIT_S)
        worker = self._worker
        if worker is not None:
            worker.kill("closed")
            self._thread.join()
        self._requests.close()
        self._metrics.close()
        if self._own_folder is not None:
            shutil.rmtree(self._own_folder, ignore_errors=True)

    def _run(self) -> None:
        """Have a process for as long as this is not closed."""
        settings, pause_s, ends = self.settings, 0.0, 0
        is_first = True
        while not self._closing.wait(pause_s):
            if self._sleep.level:
                self._sleep.until_woken(self._on_alive)
                pause_s = 0.0
                continue
            started_s, finished = time.monotonic(), self._requests.finished
            reason = self._serve(settings, is_first=is_first)
            is_first = False
            if self._closing.is_set() or self._first.exception(0) is not None:
                break
            if settings.compile == "off" and not settings.chooses_by_measuring:  # else this machine has been warmed up
                settings = settings.model_copy(update={"warmup_sizes": ("none",)})
            if reason is None:
                pause_s = 0.0
                continue
            self._metrics.restarted(reason)
            # What has served, or been there for long, has got over its failures.
            is_over = self._requests.finished > finished or time.monotonic() - started_s >= _BACKOFF.stable_s
            ends = 1 if is_over else ends + 1
            pause_s = _BACKOFF.wait_s(ends)
            _log.error("the engine's process ended: %s; another one starts in %g s", reason, pause_s)

    def _serve(self, settings: EngineSettings, *, is_first: bool) -> str | None:
        """Start a process and listen to it until it ends; why it did, None where it was to, for a sleep.

        `is_first`: it checks the adapters of the settings; a later one is told of those that are on offer now.
        """
        try:
            worker = WorkerProcess(self._folder)
        except Exception as error:
            _log.exception("the engine's process could not be started")
            self._sleep.failed(error)
            asleep = self._sleep.ended("failed")
            if not self._first.done():
                self._first.set_exception(error)
            return None if asleep else "failed"
        is_ready, alive_s = False, 0.0  # loading may take as long as it takes
        try:
            shared = settings.model_dump_json(include=set(EngineSettings.model_fields))
            with self._catalog_turn:  # what is loaded and unloaded from now on is told to the process itself
                loras = None if is_first else dict(self.catalog.modules)
                worker.send(frames_of(Load(shared, os.fsencode(self._model_folder), self._device, loras)))
                self._worker = worker
            for frames in worker.messages():
                now_s = time.monotonic()
                if is_ready:
                    self._sleep.look()
                elif self._sleep.level == 2:  # it began to load at the very moment
                    worker.kill("closed")
                if not frames:
                    if is_ready and now_s - alive_s > settings.hang_timeout_s:
                        worker.kill("hang")
                    continue
                message = message_from_worker(frames[0])
                if isinstance(message, Alive):
                    self._on_alive()
                    alive_s = now_s
                elif isinstance(message, Ready):
                    self._ready(message.description, worker)
                    is_ready, alive_s = True, now_s
                elif isinstance(message, Asleep):
                    is_ready = False
                    self._sleep.asleep()
                else:
                    self._told(message, frames[1:])
        except Exception as error:  # of ours; whatever it was, there is no one to listen to it any more
            _log.exception("the engine's process could not be listened to")
            if not self._first.done():
                self._first.set_exception(error)
        finally:
            self._worker = None
            reason = worker.close()
            asleep = self._sleep.ended(reason)
            if not asleep:
                self._on_lost()
            self._loras.lost()
            self._requests.lost("shutting down" if self._closing.is_set() else reason, asleep=asleep)
        if not self._first.done():
            self._first.set_exception(RuntimeError(f"the engine's process ended while it loaded: {reason}"))
        return None if asleep else reason

    def _ready(self, description: ModelDescription, worker: WorkerProcess) -> None:
        if not self._first.done():
            self._first.set_result(description)
        self._on_alive()
        self._sleep.loaded(partial(self._requests.begin, worker.send, description.native_size))
        if self._closing.is_set():
            worker.send(frames_of(Close()))

    def _told(self, message: FromWorker, arrays: Frames) -> None:
        if isinstance(message, Counted):
            self._metrics.counted(message)
        elif isinstance(message, LoraReply):
            self._loras.told(message)
        elif isinstance(message, LoadFailed):
            _log.error("the engine's process could not load: %s: %s", message.kind, message.problem)
            error = message.error()
            self._sleep.failed(error)
            if not self._first.done():
                self._first.set_exception(error)
        elif not isinstance(message, Closed | Alive | Ready | Asleep):
            self._requests.told(message, arrays)
