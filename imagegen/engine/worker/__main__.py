"""`python -m imagegen.engine.worker BASE`: the engine's process. Started by `WorkerProcess`, with which it ends."""

from __future__ import annotations

import sys
from pathlib import Path

from imagegen.engine.worker.child import begin_child, end_child, importing
from imagegen.engine.worker.connection import Connection


def main() -> None:
    """Serve until told to close; also ends, at once, when the process that started it does."""
    with importing():
        from imagegen.engine.worker.served_engine import ServedEngine
    begin_child()
    connection = Connection.worker(Path(sys.argv[1]))
    ServedEngine(connection).run()
    end_child(connection)


if __name__ == "__main__":
    main()
