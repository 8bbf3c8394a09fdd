"""`python -m imagegen.launch.ready [URL]`: exit status 0 when the server is ready, for a container's health check."""

from __future__ import annotations

import sys

from imagegen.launch.child_process import responds

_SUPERVISOR = "http://127.0.0.1:8003/ready"

if __name__ == "__main__":
    sys.exit(0 if responds(sys.argv[1] if len(sys.argv) > 1 else _SUPERVISOR) else 1)
