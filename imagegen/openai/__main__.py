"""`python -m imagegen.openai`: the frontend in the foreground, until Ctrl-C or TERM.

TERM: new requests and /health/ready get 503, those under way have `--drain-timeout-s` to finish; status 0.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

from imagegen.openai.app import Frontend
from imagegen.openai.command_line import parse_command_line
from imagegen.openai.log import start_logging
from imagegen.openai.server import make_server


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; the exit status."""
    try:
        settings = parse_command_line(arguments)
        start_logging()
        frontend = Frontend(settings)
    except (OSError, ValueError) as error:
        print(f"imagegen.openai: {error}", file=sys.stderr)
        return 1
    # uvicorn passes the signal on when it is done; by then there is nothing left to end.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, lambda *_: None)
    server = make_server(settings, frontend)
    server.run()
    return 0 if server.started else 1


if __name__ == "__main__":
    sys.exit(main())
