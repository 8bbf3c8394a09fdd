"""An administrator's commands, from the model that takes them to the engine of each diffusion process and back.

image_generation_admin                        diffusion, a process an instance
  Administrator ──sleep, wake──────────────>  Administration ──one at a time, on a thread──> engine
                ──state, until it is done──>
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from imagegen.api.administration import (
    LOAD_LORA,
    SLEEP,
    STATUS,
    UNLOAD_LORA,
    WAKE,
    AdminRequest,
    parse_admin_request,
)
from imagegen.api.errors import InvalidArgument, Unavailable
from imagegen.api.tensors import Arrays
from imagegen.engine.image_generator import ImageGenerator
from imagegen.pipelines.lora_catalog import LoraCatalog
from imagegen.triton.admin_key import AdminKey
from imagegen.triton.commands import Command, Commander
from imagegen.triton.heartbeat import Heartbeat

_POLL_S = 0.1
_SHOWN_CHARACTERS = 300  # of a problem

_LOGGER = logging.getLogger(__name__)


class Administration:
    """Does to one engine what an administrator says.

    Args:
        engine: sleeps and wakes.
        heartbeat: shows the other processes that it was put to sleep.
        instance: the name of this process in its state.
        offer: tells the other processes of adapters that are on offer now.
    """

    def __init__(
        self,
        engine: ImageGenerator[Any],
        heartbeat: Heartbeat,
        instance: str,
        offer: Callable[[LoraCatalog], None] = lambda catalog: None,
    ) -> None:
        self._engine = engine
        self._heartbeat = heartbeat
        self._instance = instance
        self._lock = threading.Lock()
        self._under_way = 0
        self._problem: str | None = None
        self._field: str | None = None
        self._offer = offer
        self._was_put_to_sleep = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="administration")

    def commands(self) -> dict[str, Command]:
        """By name. All but the state are begun, and the state says when they are done."""
        return {
            SLEEP: lambda level: self._begin(lambda: self._sleep(int(level))),
            WAKE: lambda _: self._begin(self._wake),
            LOAD_LORA: lambda lora: self._begin(lambda: self._load_lora(*json.loads(lora))),
            UNLOAD_LORA: lambda lora: self._begin(lambda: self._unload_lora(*json.loads(lora))),
            STATUS: lambda _: self._state(),
        }

    def close(self) -> None:
        """Finish what has begun; the engine is closed before."""
        self._thread.shutdown(wait=True)

    def _begin(self, work: Callable[[], None]) -> str:
        with self._lock:
            self._under_way += 1
            self._problem = self._field = None
        self._thread.submit(self._do, work)
        return self._state()

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except InvalidArgument as error:
            self._field = error.field
            self._problem = error.problem[:_SHOWN_CHARACTERS]
        except Exception as error:
            _LOGGER.exception("an administrator's command failed")
            self._problem = str(error)[:_SHOWN_CHARACTERS]
        finally:
            with self._lock:
                self._under_way -= 1

    def _sleep(self, level: int) -> None:
        self._heartbeat.set_asleep(True)
        try:
            self._engine.sleep(level)
            self._was_put_to_sleep = True
        finally:
            self._heartbeat.set_asleep(self._was_put_to_sleep)

    def _wake(self) -> None:
        try:
            self._engine.wake()
        finally:  # where that failed it is started again, as after any end
            self._was_put_to_sleep = False
            self._heartbeat.set_asleep(False)

    def _load_lora(self, name: str, path: str) -> None:
        self._engine.load_lora(name, path)
        self._offer(self._engine.catalog)

    def _unload_lora(self, name: str, _: str) -> None:
        self._engine.unload_lora(name)
        self._offer(self._engine.catalog)

    def _state(self) -> str:
        with self._lock:
            state = {"instance": self._instance, "sleep_level": self._engine.sleeping}
            under_way = self._under_way > 0
            return json.dumps({**state, "under_way": under_way, "problem": self._problem, "field": self._field})


class Administrator:
    """Handles requests of an administrator, from any thread.

    Args:
        folder: the run folder of the server.
        key: that lets in.
    """

    def __init__(self, folder: Path, key: AdminKey) -> None:
        self._commander = Commander(folder)
        self._key = key

    def handle(self, arrays: Arrays, request_id: str) -> Arrays:
        """Do what is asked in every diffusion process, and wait until it is done.

        Args:
            arrays: the inputs that are present: command, level, lora_name, lora_path and admin_key.
            request_id: of no effect.

        Returns:
            state BYTES [1]: JSON, `{"instances": [{"instance", "sleep_level"}, ...]}`.

        Raises:
            InvalidArgument: the key is not the administrator's, there is no such command or level, or an adapter cannot
                be loaded or is not there.
            Unavailable: a diffusion process does not respond, or could not do it.
        """
        self._key.check(arrays)
        asked = parse_admin_request(arrays)
        states = self._ask(asked.command, _argument(asked))
        while any(state["under_way"] for state in states):
            time.sleep(_POLL_S)
            states = self._ask(STATUS)
        problems = [f"{state['instance']}: {state['problem']}" for state in states if state["problem"]]
        if problems and asked.command != STATUS:
            refused = next((state for state in states if state["field"]), None)
            if refused is not None:
                raise InvalidArgument(refused["field"], refused["problem"])
            raise Unavailable("; ".join(problems))
        instances = [{name: state[name] for name in ("instance", "sleep_level")} for state in states]
        return {"state": np.array([json.dumps({"instances": instances}).encode()], dtype=np.object_)}

    def close(self) -> None:
        """Ask no more."""
        self._commander.close()

    def _ask(self, command: str, argument: str = "") -> list[dict[str, Any]]:
        replies = self._commander.ask(command, argument)
        if not replies or not all(replies):
            raise Unavailable("a diffusion process does not respond; try again")
        return [json.loads(reply) for reply in replies if reply]


def _argument(asked: AdminRequest) -> str:
    """What goes with a command on its way to the diffusion processes."""
    if asked.command in (LOAD_LORA, UNLOAD_LORA):
        return json.dumps([asked.lora_name, asked.lora_path], ensure_ascii=False)
    return str(asked.level)
