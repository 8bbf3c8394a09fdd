"""A rank as rank 0 sees it: a child process that is told of forwards."""

from __future__ import annotations

from pathlib import Path

from imagegen.engine.ranks.messages import FromRank, ToRank, message_from_rank, rank_frames
from imagegen.engine.ranks.sent_adapters import SentAdapters
from imagegen.engine.ranks.sent_layouts import SentLayouts
from imagegen.engine.worker.connection import Connection
from imagegen.engine.worker.worker_process import start_module


class RankProcess:
    """Starts `python -m imagegen.engine.ranks BASE`. `kill` and `wait` are safe from any thread; all else is for one.

    Args:
        base: path for its sockets, without suffixes.
        rank: from 1.

    Attributes:
        rank: as given.
        layouts: those that it has been sent.
        adapters: the same.
    """

    def __init__(self, base: Path, rank: int) -> None:
        self.rank = rank
        self.layouts = SentLayouts()
        self.adapters = SentAdapters()
        self._process = start_module("imagegen.engine.ranks", base)
        self._connection = Connection.server(base)

    def send(self, message: ToRank) -> None:
        """Send a message."""
        self._connection.send(rank_frames(message))

    def receive(self, within_s: float | None) -> FromRank | None:
        """Wait for its next message, at most so many seconds, or for ever: whether it is alive is watched elsewhere.

        None when none came.
        """
        if not self._connection.receiving.poll(None if within_s is None else round(within_s * 1000)):
            return None
        return message_from_rank(self._connection.receive()[0])

    def wait(self) -> int:
        """Wait for its end; its exit status."""
        return self._process.wait()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def close(self) -> None:
        """End it, and free what is held for it."""
        self.kill()
        self.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._connection.close()
