"""`python -m imagegen.launch.ready [URL]`: exit status 0 when the server is ready, for a container's health check."""

from __future__ import annotations

import sys

from imagegen.launch.child_process import responds

_SUPERVISOR = "http://127.0.0.1:8003/ready"


def main(argv: list[str]) -> int:
    """Say whether a server is ready.

    Args:
        argv: the address to get; that of this container's supervisor when there is none.

    Returns:
        0 when the response's status is 200, else 1.
    """
    return 0 if responds(argv[0] if argv else _SUPERVISOR) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
