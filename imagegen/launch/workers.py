"""The model processes of a `tritonserver`: which there are, and whether one has died.

Triton does not watch them. The requests that a dead one has taken never get a response, and it is never started again.
"""

from __future__ import annotations

from pathlib import Path

import psutil

_PROGRAM = "triton_python_backend_stub"


class Workers:
    """The model processes of one server.

    Args:
        server_pid: the process id of `tritonserver`.
    """

    def __init__(self, server_pid: int) -> None:
        self._server_pid = server_pid
        self._models: dict[psutil.Process, str] = {}

    def look(self) -> None:
        """Note the model processes that have been started."""
        try:
            for process in psutil.Process(self._server_pid).children():
                if process not in self._models and (model := _model(process)):
                    self._models[process] = model
        except psutil.NoSuchProcess:  # the server ends; its own status says it
            return

    def dead(self) -> list[str]:
        """The models whose process no longer runs, of the processes that were noted."""
        return [model for process, model in self._models.items() if not _runs(process)]

    def pids(self, model: str) -> list[int]:
        """The process ids of the model's noted processes."""
        return [process.pid for process, name in self._models.items() if name == model]


def _model(process: psutil.Process) -> str | None:
    """The model of a model process; None for another process, and for one too young to show its model."""
    try:
        if process.status() == psutil.STATUS_ZOMBIE:  # died before it was noted, and tells no more than its name
            return "a model" if _PROGRAM.startswith(process.name()) else None
        command = process.cmdline()
    except psutil.Error:
        return None
    if len(command) < 2 or Path(command[0]).name != _PROGRAM:
        return None
    return Path(command[1]).parent.parent.name  # MODEL/1/model.py


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
