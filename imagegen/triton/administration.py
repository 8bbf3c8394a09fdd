"""An administrator's commands, from the model that takes them to the engine of each diffusion process and back.

image_generation_admin                        diffusion, a process an instance
  Administrator ──sleep, wake, adapters──────>  Administration ──on a thread──> engine
                ──state, until it is done──>
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from cachetools import LRUCache

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
_MOST_COMMANDS = 1000  # whose outcome is remembered

_LOGGER = logging.getLogger(__name__)


@dataclass
class _Outcome:
    """What has become of a command so far."""

    is_done: bool = False
    problem: str | None = None
    field: str | None = None  # that is to blame


class Administration:
    """Does to one engine what an administrator says: sleeps and wakes in order, and adapters in order beside them.

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
        self._outcomes: LRUCache[str, _Outcome] = LRUCache(_MOST_COMMANDS)  # by the id of the command
        self._offer = offer
        self._was_put_to_sleep = False
        self._sleeps = ThreadPoolExecutor(1, thread_name_prefix="sleeps")
        self._adapters = ThreadPoolExecutor(1, thread_name_prefix="adapters")  # one may be read for long

    def commands(self) -> dict[str, Command]:
        """By name. All but the state are begun, and the state says when they are done."""
        return {
            SLEEP: partial(self._begin, self._sleeps, self._sleep),
            WAKE: partial(self._begin, self._sleeps, self._wake),
            LOAD_LORA: partial(self._begin, self._adapters, self._load_lora),
            UNLOAD_LORA: partial(self._begin, self._adapters, self._unload_lora),
            STATUS: self._state,
        }

    def close(self) -> None:
        """Finish what has begun; the engine is closed before."""
        for thread in (self._sleeps, self._adapters):
            thread.shutdown(wait=True)

    def _begin(self, thread: ThreadPoolExecutor, work: Callable[..., None], asked: str) -> str:
        command, *arguments = json.loads(asked)
        with self._lock:
            outcome = self._outcomes[command] = _Outcome()
        thread.submit(self._do, outcome, work, arguments)
        return self._state(command)

    def _do(self, outcome: _Outcome, work: Callable[..., None], arguments: list[Any]) -> None:
        try:
            work(*arguments)
        except InvalidArgument as error:
            outcome.field = error.field
            outcome.problem = error.problem[:_SHOWN_CHARACTERS]
        except Exception as error:
            _LOGGER.exception("an administrator's command failed")
            outcome.problem = str(error)[:_SHOWN_CHARACTERS]
        finally:
            outcome.is_done = True

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

    def _unload_lora(self, name: str) -> None:
        self._engine.unload_lora(name)
        self._offer(self._engine.catalog)

    def _state(self, command: str) -> str:
        """The engine's state, and what has become of the command of this id; empty for none."""
        with self._lock:
            outcome = self._outcomes.get(command) if command else _Outcome(is_done=True)
        if outcome is None:  # another process has been told of it
            outcome = _Outcome(is_done=True, problem="the process has been started again; send the command again")
        is_done = outcome.is_done  # before the rest, which is there by then
        state = {"instance": self._instance, "sleep_level": self._engine.sleeping}
        return json.dumps({**state, "is_done": is_done, "problem": outcome.problem, "field": outcome.field})


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
        states = self._ask(STATUS) if asked.command == STATUS else self._do(asked)
        instances = [{name: state[name] for name in ("instance", "sleep_level")} for state in states]
        return {"state": np.array([json.dumps({"instances": instances}).encode()], dtype=np.object_)}

    def close(self) -> None:
        """Ask no more."""
        self._commander.close()

    def _do(self, asked: AdminRequest) -> list[dict[str, Any]]:
        command = uuid.uuid4().hex
        states = self._ask(asked.command, json.dumps([command, *_arguments(asked)], ensure_ascii=False))
        while not all(state["is_done"] for state in states):
            time.sleep(_POLL_S)
            states = self._ask(STATUS, command)
        for state in states:
            if state["field"]:
                raise InvalidArgument(state["field"], state["problem"])
        problems = [f"{state['instance']}: {state['problem']}" for state in states if state["problem"]]
        if problems:
            raise Unavailable("; ".join(problems))
        return states

    def _ask(self, command: str, argument: str = "") -> list[dict[str, Any]]:
        replies = self._commander.ask(command, argument)
        if not replies or not all(replies):
            raise Unavailable("a diffusion process does not respond; try again")
        return [json.loads(reply) for reply in replies if reply]


def _arguments(asked: AdminRequest) -> list[str | int]:
    """What goes with a command on its way to the diffusion processes."""
    if asked.command == LOAD_LORA:
        return [asked.lora_name, asked.lora_path]
    if asked.command == UNLOAD_LORA:
        return [asked.lora_name]
    return [asked.level] if asked.command == SLEEP else []
