"""`python -m imagegen.engine.ranks BASE`: a rank from 1 on. Started by `RankProcess`, with which it ends."""

from __future__ import annotations

import sys
from pathlib import Path

from imagegen.engine.worker.child import begin_child, end_child, importing
from imagegen.engine.worker.connection import Connection


def main() -> None:
    """Run forwards for as long as rank 0 lives, or until they cannot be loaded."""
    with importing():
        from imagegen.engine.ranks.rank import Rank
    begin_child()
    connection = Connection.worker(Path(sys.argv[1]))
    Rank(connection).run()
    end_child(connection)


if __name__ == "__main__":
    main()
