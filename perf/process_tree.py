"""What a server and all processes that it started hold: memory, threads, sockets, shared memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

_SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Holding:
    """What a tree of processes holds.

    Attributes:
        rss_bytes: resident memory of all processes; what they share counts once in each.
        threads: of all processes.
        sockets: that are open, those between the processes too.
        processes: how many there are.
        shm_bytes: of its files in /dev/shm.
    """

    rss_bytes: int
    threads: int
    sockets: int
    processes: int
    shm_bytes: int


def holding(pid: int, shm_prefix: str) -> Holding:
    """What the process `pid` and its descendants hold now, and the files in /dev/shm whose names begin so."""
    rss_bytes = threads = sockets = processes = 0
    for process in tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
            rss_bytes += process.memory_info().rss
            threads += process.num_threads()
            sockets += _sockets(process.pid)
            processes += 1
    shm_bytes = 0
    for file in _SHARED_MEMORY.glob(f"{shm_prefix}*"):
        with contextlib.suppress(OSError):
            shm_bytes += file.stat().st_blocks * 512
    return Holding(rss_bytes, threads, sockets, processes, shm_bytes)


def tree(pid: int) -> Iterator[psutil.Process]:
    """The process `pid` and its descendants."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        yield process
        yield from process.children(recursive=True)


def engine_of(pid: int) -> psutil.Process | None:
    """The engine's process of the server with the process id `pid`, where there is one now."""
    for process in tree(pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "imagegen.engine.worker" in process.cmdline():
                return process
    return None


def _sockets(pid: int) -> int:
    """Not by psutil's net_connections, which leaves some kinds out."""
    count = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            count += str(descriptor.readlink()).startswith("socket:")
    return count
