"""An engine that is told by messages what to do, and tells what it does; the inside of the worker.

main thread        messages -> Engine
engine's threads   events, results, numbers for the metrics, signs of life -> messages
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from imagegen.api.errors import ImageGenError, InvalidArgument
from imagegen.api.events import Event, encode_event
from imagegen.engine.cancellation import CancelToken
from imagegen.engine.engine import Engine
from imagegen.engine.generation_result import GenerationResult
from imagegen.engine.ranks.devices import default_device, rank_devices, threads_of_a_rank
from imagegen.engine.ranks.rank_group import RankGroup
from imagegen.engine.settings import EngineSettings
from imagegen.engine.worker.connection import Connection
from imagegen.engine.worker.device_faults import end_after_fatal_fault
from imagegen.engine.worker.messages import (
    Alive,
    Asleep,
    Cancel,
    Close,
    Closed,
    Counted,
    Generate,
    Images,
    Left,
    Load,
    LoadFailed,
    LoadLora,
    LoraReply,
    Ready,
    Sleep,
    Told,
    UnloadLora,
    Waiting,
    Wake,
    frames_of,
    input_images,
    message_to_worker,
)
from imagegen.engine.worker.wire_errors import failed
from imagegen.metrics import Family
from imagegen.pipelines.checkpoint import fetch_checkpoint, load_pipelines

_ALIVE_EVERY_S = 0.25

_log = logging.getLogger(__name__)

MakeEngine = Callable[..., Engine]
"""Makes an engine of the checkpoint that is loaded: `Engine`, or what a test puts in its place."""


class ServedEngine:
    """Does what the messages of a connection say, until it is to close or cannot load.

    Args:
        connection: to the server's process.
        make_engine: from settings, and by name `pipelines`, `new_series`, `on_alive` and `ranks`.
    """

    def __init__(self, connection: Connection, make_engine: MakeEngine = Engine) -> None:
        self._connection = connection
        self._make_engine = make_engine
        self._tokens: dict[int, CancelToken] = {}
        self._alive_s = 0.0
        self._ranks: RankGroup | None = None
        # In order, and beside the messages: reading an adapter takes long.
        self._administration = ThreadPoolExecutor(1, thread_name_prefix="administration")

    def run(self) -> None:
        """Serve to the end."""
        load = message_to_worker(self._connection.receive()[0])
        assert isinstance(load, Load)
        try:
            engine = self._load(load)
        except Exception as error:
            self._failed("loaded", error)
            return
        self._send(Ready(engine.pipelines.description()))
        while self._handle(engine, *self._connection.receive()):
            pass
        engine.close()
        if self._ranks is not None:
            self._ranks.close()
        self._send(Closed())

    def _load(self, load: Load) -> Engine:
        settings = EngineSettings.model_validate_json(load.settings)
        folder = Path(os.fsdecode(load.folder))
        devices = rank_devices(settings, load.device or default_device())
        settings = threads_of_a_rank(settings, devices)
        if len(devices) > 1:
            fetch_checkpoint(settings, folder)  # by one, before all read it
            self._ranks = RankGroup(settings, folder, devices, self._connection.base)
        pipelines = load_pipelines(settings, folder, devices[0])
        if self._ranks is not None:
            self._ranks.join(next(iter(pipelines.tasks.values())).pipeline)
        engine = self._make_engine(
            settings,
            pipelines=pipelines,
            new_series=self._series,
            on_alive=self._alive,
            ranks=self._ranks,
            folder=folder,
        )
        if load.loras is None:
            engine.check_loras()
        else:
            engine.offer_loras(load.loras)
        engine.warm_up()
        return engine

    def _alive(self) -> None:
        """On the device thread, after each round of steps: to say so each time would take from the next one."""
        now_s = time.monotonic()
        if now_s - self._alive_s > _ALIVE_EVERY_S:
            self._alive_s = now_s
            self._send(Alive())

    def _handle(self, engine: Engine, header: Any, *arrays: Any) -> bool:
        """Do what a message says; false when it is the last one."""
        message = message_to_worker(header)
        if isinstance(message, Generate):
            self._generate(engine, message, list(arrays))
        elif isinstance(message, Cancel):
            token = self._tokens.get(message.number)
            if token is not None:
                token.cancel()
        elif isinstance(message, Waiting):
            engine.line_elsewhere(message.anybody)
        elif isinstance(message, LoadLora):
            self._administration.submit(self._load_lora, engine, message)
        elif isinstance(message, UnloadLora):
            self._administration.submit(self._unload_lora, engine, message)
        elif isinstance(message, Sleep):
            return self._sleep(engine)
        elif isinstance(message, Wake):
            return self._wake(engine)
        return not isinstance(message, Close)

    def _load_lora(self, engine: Engine, message: LoadLora) -> None:
        try:
            engine.load_lora(message.name, message.where)
        except Exception as error:
            if not isinstance(error, ImageGenError):
                _log.exception("an adapter could not be loaded")
            self._send(LoraReply(message.number, failed(message.number, error)))
        else:
            self._send(LoraReply(message.number, None))

    def _unload_lora(self, engine: Engine, message: UnloadLora) -> None:
        with suppress(InvalidArgument):  # it was never loaded
            engine.unload_lora(message.name)

    def _sleep(self, engine: Engine) -> bool:
        """Sleep, which a process that has ended does too: false where nothing else gives the memory back."""
        try:
            engine.sleep()
        except Exception:
            _log.exception("the engine could not be put to sleep; its process ends")
            return False
        self._send(Asleep())
        return True

    def _wake(self, engine: Engine) -> bool:
        """Wake; false where that fails, after which only a new process helps."""
        try:
            engine.wake()
        except Exception as error:
            self._failed("brought back to its device", error)
            return False
        self._send(Ready(engine.pipelines.description()))
        return True

    def _failed(self, to_be: str, error: Exception) -> None:
        _log.error("the checkpoint could not be %s", to_be, exc_info=error)
        self._send(LoadFailed.of(error))

    def _generate(self, engine: Engine, message: Generate, arrays: list[Any]) -> None:
        number, token = message.number, CancelToken()
        self._tokens[number] = token
        try:
            engine.submit(
                engine.new_request(
                    message.request,
                    input_images(arrays, message.images),
                    message.previews,
                    partial(self._respond, number),
                    token=token,
                    publish=partial(self._publish, number) if message.streams else None,
                    arrived_s=message.arrived_s,
                    left=partial(self._left, number),
                )
            )
        except BaseException as error:  # every request gets a response, whatever happens
            self._left(number)
            self._respond(number, None, error)

    def _left(self, number: int) -> None:
        self._tokens.pop(number, None)
        self._send(Left(number))

    def _respond(self, number: int, result: GenerationResult | None, error: BaseException | None) -> None:
        if result is not None:
            message = Images(number, result.frames.shape, result.seeds, result.statistics.to_json())
            self._connection.send(frames_of(message, result.frames))
            return
        assert error is not None
        message_failed = failed(number, error)
        if message_failed.code == "internal_error":
            _log.error("a request failed", exc_info=error)
        end_after_fatal_fault(error)
        self._send(message_failed)

    def _publish(self, number: int, event: Event) -> None:
        self._connection.send(frames_of(Told(number), *encode_event(event)))

    def _series(self, family: Family, labels: dict[str, str]) -> _Series:
        return _Series(self._send, family.name, labels)

    def _send(self, message: Any) -> None:
        self._connection.send(frames_of(message))


class _Series:
    """A series of the metrics, the numbers of which are sent on."""

    def __init__(self, send: Callable[[Counted], None], family: str, labels: dict[str, str]) -> None:
        self._send = send
        self._family = family
        self._labels = labels

    def increment(self, value: float) -> None:
        self._send(Counted(self._family, self._labels, value))

    set = observe = increment
