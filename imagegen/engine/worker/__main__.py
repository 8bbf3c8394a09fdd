"""`python -m imagegen.engine.worker BASE`: the engine's process. Started by `WorkerProcess`, with which it ends."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from pathlib import Path

from imagegen.engine.worker.connection import Connection
from imagegen.engine.worker.served_engine import ServedEngine

_LAST_WORDS_MS = 5000


def main() -> None:
    """Serve until told to close; also ends, at once, when the process that started it does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who started it, and who drains it then
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    threading.Thread(target=_end_with_parent, name="end-with-parent", daemon=True).start()
    connection = Connection.worker(Path(sys.argv[1]))
    ServedEngine(connection).run()
    connection.close(_LAST_WORDS_MS)
    # Nothing is left to do; torch and CUDA may take seconds to take themselves down.
    logging.shutdown()
    sys.stderr.flush()
    os._exit(0)


def _end_with_parent() -> None:
    """Standard input is a pipe that the parent holds open and never writes to."""
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
