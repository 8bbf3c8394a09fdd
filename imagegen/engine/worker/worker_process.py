"""The engine's process as the server's process sees it: started, listened to, killed, and why it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import zmq

from imagegen.engine.worker.connection import Connection
from imagegen.engine.worker.messages import FATAL_DEVICE_FAULT, RANK_LOST, Frames

_POLL_MS = 500  # between two looks at whether it hangs


class WorkerProcess:
    """Starts `python -m imagegen.engine.worker`. `send` and `kill` are safe from any thread; all else is for one.

    Args:
        folder: for the sockets; its path has ninety characters at most.
        module: what it runs.
    """

    def __init__(self, folder: Path, module: str = "imagegen.engine.worker") -> None:
        base = self._base = folder / uuid.uuid4().hex[:8]
        self._process = start_module(module, base)
        self.pid = self._process.pid
        self._ended = os.pidfd_open(self.pid)
        self._connection = Connection.server(base)
        self._poller = zmq.Poller()
        self._poller.register(self._connection.receiving, zmq.POLLIN)
        self._poller.register(self._ended, zmq.POLLIN)
        self._killed_for: str | None = None

    def send(self, frames: Frames) -> None:
        """Send a message; of no effect on one that has ended."""
        self._connection.send(frames)

    def messages(self) -> Iterator[Frames]:
        """What it sends, until it has ended; empty ones in between, twice a second or oftener."""
        while True:
            ready = dict(self._poller.poll(_POLL_MS))
            yield from self._connection.received()
            if self._ended in ready:
                # What it sent last may still be on its way through ZeroMQ's own thread.
                while self._connection.receiving.poll(20):
                    yield from self._connection.received()
                return
            yield ()

    def kill(self, why: str) -> None:
        """End it at once, from outside."""
        self._killed_for = self._killed_for or why
        self._process.kill()

    def close(self) -> str:
        """Free what is held for it, once it has ended, or end it at once.

        Returns:
            why it ended: closed, killed, crashed, device, rank, failed, or what `kill` was told.
        """
        if self._process.poll() is None:
            self._process.kill()
        status = self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._connection.close()
        for path in self._base.parent.glob(self._base.name + ".*"):  # also those of its ranks
            path.unlink(missing_ok=True)
        os.close(self._ended)
        return self._killed_for or _reason(status)


def start_module(module: str, base: Path) -> subprocess.Popen[bytes]:
    """Start `python -m MODULE BASE` with the packages of this process."""
    return subprocess.Popen(
        [_python(), "-m", module, str(base)],
        stdin=subprocess.PIPE,  # held open: when this process ends, however, the other sees the end of it
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )


def _reason(status: int) -> str:
    if status == 0:
        return "closed"
    if status == FATAL_DEVICE_FAULT:
        return "device"
    if status == RANK_LOST:
        return "rank"
    if status == -signal.SIGKILL:  # the kernel does so too where memory is short
        return "killed"
    return "crashed" if status < 0 else "failed"


def _python() -> str:
    """The interpreter; inside a program that embeds Python, as Triton's stub does, that of the same installation."""
    if Path(sys.executable or "").name.startswith("python"):
        return sys.executable
    return str(Path(sys.prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}"))
