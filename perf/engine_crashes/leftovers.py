"""What a server and its frontend hold that an engine which ends may not add to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from imagegen.launch.embedded_frontend import EmbeddedFrontend
from imagegen.launch.embedded_server import EmbeddedServer
from imagegen.triton.run_folder import run_folder
from perf.process_tree import tree

_SETTLING_S = 30.0  # connections of clients that have left, and threads that wait for more to do
_POLL_S = 0.2
_FILES = "files of "
_MORE_FILES = 2  # of a process: those that are open for a moment, and pollers that its libraries keep

_SHARED_MEMORY = Path("/dev/shm")


def held(server: EmbeddedServer, frontend: EmbeddedFrontend) -> dict[str, int]:
    """How many processes, entries in /dev/shm, open files by process, and files in the run folder there are.

    The files of the engine's own process are left out: it is another one each time.
    """
    counts = {"processes": 0, "shared memory": len(list(_SHARED_MEMORY.glob(f"{server.shm_prefix}*")))}
    counts["run folder"] = len(list(run_folder(server.pid).iterdir()))
    counts[f"{_FILES}the frontend"] = psutil.Process(frontend.pid).num_fds()
    for process in tree(server.pid):
        counts["processes"] += 1
        command = process.cmdline()
        if "imagegen.engine.worker" not in command:
            model = Path(command[1]).parent.parent.name if "triton_python_backend_stub" in command[0] else "the server"
            counts[_FILES + model] = process.num_fds()
    return counts


def grown(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """By how much there is more of what, beyond what comes and goes by itself."""
    growth = {name: now.get(name, 0) - count for name, count in before.items()}
    growth |= {name: count for name, count in now.items() if name not in before}
    return {name: more for name, more in growth.items() if more > (_MORE_FILES if name.startswith(_FILES) else 0)}


def left_over(before: Mapping[str, int], count: Callable[[], Mapping[str, int]]) -> dict[str, int]:
    """What has grown once everything has had time to settle, which ends the wait where nothing has.

    Args:
        before: what there was.
        count: what there is now.
    """
    until_s = time.monotonic() + _SETTLING_S
    while (more := grown(before, count())) and time.monotonic() < until_s:
        time.sleep(_POLL_S)
    return more
