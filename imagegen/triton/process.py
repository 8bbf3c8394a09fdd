"""The beginning and the end of a model process: its log, its run folder, and its life with the server's."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from pathlib import Path

from imagegen.triton.drain import OpenRequests
from imagegen.triton.run_folder import enter_run_folder, leave_run_folder

_SERVER_POLL_S = 1.0

OPEN_REQUESTS = OpenRequests()
"""The requests that this process has taken and owes a response."""


def start_process() -> Path:
    """To be called first in `initialize`: sends Python's log to the server's log, and ends with the server.

    A server that dies or that is killed leaves its model processes behind, with all their GPU memory.

    Returns:
        the run folder of the server.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    threading.Thread(target=_end_with, args=(os.getppid(),), name="end-with-server", daemon=True).start()
    folder = enter_run_folder(os.getppid())
    OPEN_REQUESTS.show(folder)
    return folder


def end_process(folder: Path) -> None:
    """To be called last in `finalize`, with what `start_process` returned."""
    OPEN_REQUESTS.hide()
    leave_run_folder(folder)


def _end_with(server_pid: int) -> None:
    while os.getppid() == server_pid:
        time.sleep(_SERVER_POLL_S)
    os._exit(1)
