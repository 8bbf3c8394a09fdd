"""One server with its frontend under load, whose engine is ended again and again."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from imagegen.launch.embedded_frontend import EmbeddedFrontend
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.launch.model_repository import MODEL_REPOSITORY
from imagegen.triton.heartbeat import quiet_s
from imagegen.triton.run_folder import run_folder
from perf.engine_crashes.judgement import Record
from perf.engine_crashes.kinds import KINDS, Kind
from perf.engine_crashes.leftovers import held, left_over
from perf.engine_crashes.outcomes import End, Outcome
from perf.engine_crashes.users import Users
from perf.own_server import own_server
from perf.process_tree import engine_of

_MOMENT_S = (0.05, 2.0)  # of load between a recovery and the next end
_PROBE_MS = 1000
_UNTIL_PROBES_S = 0.5  # by then nothing is sent to the old process any more, and others wait for the next one
_LARGE = (512, 512)
_RECOVERY_S = 120.0  # with loading: it is not coming back
_SETTLED_S = 2.0
_POLL_S = 0.01
_LOOK_S = 0.1  # between two looks for the next process, at all processes of the server


@dataclass(frozen=True)
class Settings:
    """How much is done.

    Attributes:
        kinds: of ends.
        times: that the engine is ended, for each kind.
        seed: of the moments and the requests.
        clients: of each interface.
    """

    kinds: tuple[str, ...]
    times: int = 50
    seed: int = 0
    clients: int = 2


def crash(
    name: str, settings: Settings, checkpoint: Path, notify: Callable[[], None]
) -> tuple[Record, Mapping[str, int]]:
    """End the engine of one server so often.

    Args:
        name: of the kind.
        settings: how much is done.
        checkpoint: that the server has.
        notify: called after each end and recovery.

    Returns:
        what was seen, and what the server held before.

    Raises:
        ServerError: the server or its frontend does not start.
    """
    kind = KINDS[name]
    with serving(kind, checkpoint) as (server, frontend):
        dice = random.Random(f"{settings.seed}, {name}")

        def trial(times: int) -> Trial:
            return Trial(server, frontend, kind, dice, times, settings.clients, notify)

        asyncio.run(trial(1).run())  # what is made once is made now
        time.sleep(_SETTLED_S)
        before = held(server, frontend)
        measured = trial(settings.times)
        asyncio.run(measured.run())
        left = left_over(before, lambda: held(server, frontend))
        return measured.record(left), before


@contextmanager
def serving(kind: Kind, checkpoint: Path) -> Iterator[tuple[EmbeddedServer, EmbeddedFrontend]]:
    """A server whose engine can be ended so, and its frontend.

    Raises:
        ServerError: one of them does not start.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imagegen-crashes-")))
        repository = MODEL_REPOSITORY if kind.module is None else _with_module(kind.module, folder / "repository")
        server = stack.enter_context(own_server(checkpoint, more=kind.parameters, repository=repository))
        options = {"tokenizer": str(checkpoint)}
        yield server, stack.enter_context(EmbeddedFrontend(server.grpc_url, options=options))


def _with_module(module: Path, repository: Path) -> Path:
    """A copy of the model repository in which the engine's process finds the module.

    Triton's python backend has the model's folder on the path of modules, which the engine's process gets as
    PYTHONPATH. PYTHONPATH itself it ignores.
    """
    shutil.copytree(MODEL_REPOSITORY, repository)
    shutil.copy(module, repository / "diffusion" / "1")
    return repository


class Trial:
    """The ends of one server's engine, beside the load.

    Args:
        server: from `serving`, as `frontend`.
        kind: of its ends.
        dice: decides the moments and the requests.
        times: that it is ended.
        clients: of each interface.
        notify: called after each end and recovery.
    """

    def __init__(
        self,
        server: EmbeddedServer,
        frontend: EmbeddedFrontend,
        kind: Kind,
        dice: random.Random,
        times: int,
        clients: int,
        notify: Callable[[], None],
    ) -> None:
        self._server = server
        self._kind = kind
        self._dice = dice
        self._times = times
        self._notify = notify
        self._users = Users(server.grpc_url, frontend.url, dice, clients)
        self._ends: list[End] = []
        self._probes: list[Outcome] = []
        self._large: list[asyncio.Task[list[Outcome]]] = []
        self._faults: list[str] = []

    async def run(self) -> None:
        """Let the users work, end the engine so often, and let the users finish what they have begun."""
        async with self._users:
            await self._served_since(time.monotonic())
            for _ in range(self._times):
                engine = engine_of(self._server.pid)
                if engine is None:
                    self._faults.append("the engine had ended by itself")
                    await self._served_since(time.monotonic())
                    continue
                await asyncio.sleep(self._dice.uniform(*_MOMENT_S))
                end = await self._end(engine)
                probes, load = asyncio.create_task(self._probe()), asyncio.create_task(self._load_s(engine, end))
                try:
                    if not await self._served_since(end.over_s):
                        return
                finally:
                    self._ends.append(dataclasses.replace(end, load_s=await load))
                    self._probes += await probes
                    for large in self._large:
                        self._users.outcomes += await large
                    self._large.clear()
                self._notify()

    def record(self, leftovers: Mapping[str, int]) -> Record:
        """What was seen."""
        users = self._users
        broken = max(0, users.connections - users.expected_connections)
        return Record(self._ends, users.outcomes, self._probes, broken, leftovers, self._faults)

    async def _end(self, engine: psutil.Process) -> End:
        kind = self._kind
        descriptor = os.pidfd_open(engine.pid)
        try:
            began_s = time.monotonic()
            with kind.harm(engine):
                if kind.takes_memory:
                    self._large.append(asyncio.create_task(self._users.send_each(size=_LARGE)))
                ended_s = await _ended_s(descriptor, kind.longest_s)
                if ended_s is None and not kind.may_survive:
                    self._faults.append(f"the process had not ended after {kind.longest_s:g} s")
                    engine.kill()
        finally:
            os.close(descriptor)
        now_s = time.monotonic()
        over_s = began_s if kind.is_immediate else now_s if ended_s is None else ended_s
        return End(began_s, over_s, ended_s is not None)

    async def _load_s(self, old: psutil.Process, end: End) -> float:
        """Seconds for which the next process loads until it shows that it lives; 0 where there is no next one."""
        folder, until_s = run_folder(self._server.pid), end.over_s + _RECOVERY_S
        while end.ended and time.monotonic() < until_s:
            started_s, new = time.monotonic(), engine_of(self._server.pid)
            if new is not None and new.pid != old.pid:
                while time.monotonic() < until_s and not _has_mark_since(folder, started_s):
                    await asyncio.sleep(_POLL_S)
                return time.monotonic() - started_s
            await asyncio.sleep(_LOOK_S)
        return 0.0

    async def _probe(self) -> list[Outcome]:
        await asyncio.sleep(_UNTIL_PROBES_S)
        return await self._users.send_each(timeout_ms=_PROBE_MS)

    async def _served_since(self, moment_s: float) -> bool:
        """Whether a request that was sent after that moment has succeeded, once one has or none will."""
        until_s = moment_s + _RECOVERY_S
        while self._users.served_s <= moment_s:
            if time.monotonic() > until_s:
                return False
            await asyncio.sleep(_POLL_S)
        return True


def _has_mark_since(folder: Path, moment_s: float) -> bool:
    """Whether the engine has shown that it lives since a moment of `time.monotonic`."""
    silent_s = quiet_s(folder)
    return silent_s is not None and silent_s < time.monotonic() - moment_s


async def _ended_s(descriptor: int, within_s: float) -> float | None:
    """When the process of a pidfd ended, by `time.monotonic`; None when it does not within so many seconds."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[float] = loop.create_future()

    def note() -> None:
        loop.remove_reader(descriptor)
        ended.set_result(time.monotonic())

    loop.add_reader(descriptor, note)
    try:
        return await asyncio.wait_for(ended, within_s)
    except TimeoutError:
        loop.remove_reader(descriptor)
        return None
