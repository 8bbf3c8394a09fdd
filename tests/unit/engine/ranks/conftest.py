"""A folder for sockets, and ranks that are threads of this process: all but processes and torch's group is real."""

from __future__ import annotations

import copy
import queue
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch

from imagegen.engine import EngineSettings
from imagegen.engine.ranks import rank as rank_module
from imagegen.engine.ranks import rank_group
from imagegen.engine.ranks.messages import FromRank, Settled, ToRank, message_from_rank, rank_frames
from imagegen.engine.ranks.process_group import GroupLostError
from imagegen.engine.ranks.rank import Rank
from imagegen.engine.ranks.rank_group import RankGroup
from imagegen.engine.ranks.sent_adapters import SentAdapters
from imagegen.engine.ranks.sent_layouts import SentLayouts
from imagegen.engine.worker.connection import Connection

TIMEOUT_S = 20


@pytest.fixture
def folder() -> Iterator[Path]:
    """Its path is short, since a socket's has to be."""
    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp") as made:
        yield Path(made)


class Ended(SystemExit):
    """Stands for the end of the process."""


class Sent:
    def wait(self) -> None:
        pass


class QueueGroup:
    """Buffers between threads.

    Attributes:
        is_lost: nothing goes any more.
    """

    is_lost = False
    _queues: defaultdict[tuple[int, int], queue.Queue[torch.Tensor]]

    def __init__(self, store: Path, rank: int, ranks: int, device: torch.device, timeout_s: float) -> None:
        self._rank = rank

    def start_sending(self, buffer: torch.Tensor, rank: int) -> Sent:
        if type(self).is_lost:
            raise GroupLostError("lost")
        self._queues[self._rank, rank].put(buffer.clone())
        return Sent()

    def receive(self, size: int, rank: int) -> torch.Tensor:
        for _ in range(TIMEOUT_S * 20):
            if type(self).is_lost:
                raise GroupLostError("lost")
            with suppress(queue.Empty):
                buffer = self._queues[rank, self._rank].get(timeout=0.05)
                assert buffer.shape == (size,)
                return buffer
        raise AssertionError("nothing came")


class ThreadRank:
    """A rank in a thread, which `exit` ends with a status."""

    made: list[ThreadRank]

    def __init__(self, base: Path, rank: int) -> None:
        self.rank = rank
        self.layouts = SentLayouts()
        self.adapters = SentAdapters()
        self._status: queue.Queue[int] = queue.Queue()
        self._worker, self._server = Connection.worker(base), Connection.server(base)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self.made.append(self)

    def send(self, message: ToRank) -> None:
        self._server.send(rank_frames(message))

    def receive(self, within_s: float | None) -> FromRank | None:
        if not self._server.receiving.poll(round((TIMEOUT_S if within_s is None else within_s) * 1000)):
            return None
        return message_from_rank(self._server.receive()[0])

    def wait(self) -> int:
        return self._status.get()

    def close(self) -> None:
        self.exit(-9)

    def exit(self, status: int) -> None:
        self._status.put(status)

    def free(self) -> None:
        self.send(Settled())  # which no rank that waits for a forward takes
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()
        self._worker.close()
        self._server.close()
        self.exit(0)

    def _run(self) -> None:
        with suppress(AssertionError, Ended):
            Rank(self._worker).run()


MakeGroup = Callable[..., RankGroup]


@pytest.fixture
def group_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeGroup]:
    """Makes a group of ranks with copies of a pipeline's denoisers; `is_lost` and `ended` are attributes of it."""
    ended: queue.Queue[int] = queue.Queue()

    def end(status: int) -> NoReturn:
        ended.put(status)
        raise Ended(status)

    ranks: list[ThreadRank] = []
    kind = type("Ranks", (ThreadRank,), {"made": ranks})
    queues = type("Queues", (QueueGroup,), {"_queues": defaultdict(queue.Queue)})
    for module in (rank_group, rank_module):
        monkeypatch.setattr(module, "end", end)
        monkeypatch.setattr(module, "ProcessGroup", queues)
        monkeypatch.setattr(module, "enable_context", lambda *_: None)
        monkeypatch.setattr(module, "check_context", lambda *_: None)
    monkeypatch.setattr(rank_group, "RankProcess", kind)

    def make(pipeline: Any, ranks: int, join: bool = True, **settings: Any) -> RankGroup:
        def load(*_: Any) -> dict[str, Any]:
            if problem := getattr(make, "problem", None):
                raise problem
            names = vars(pipeline).keys() & {"unet", "transformer"}
            return {name: copy.deepcopy(getattr(pipeline, name)) for name in names}

        monkeypatch.setattr(rank_module, "load_denoisers", load)
        devices = ("cpu",) * ranks
        group = RankGroup(EngineSettings(model="tiny", devices=devices, **settings), Path("/"), devices, folder / "g")
        if join:
            group.join(pipeline)
        return group

    make.ended = ended  # type: ignore[attr-defined]
    make.ranks = ranks  # type: ignore[attr-defined]
    make.queues = queues  # type: ignore[attr-defined]
    yield make
    for rank in ranks:
        rank.free()
