"""Runs locust with the project's users, and reads what it writes."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def start_locust(options: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start it in a process of its own, whose standard library gevent may change. INT ends it in order."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "client")])
    command = [sys.executable, "-m", "locust", "-f", "perf/locustfile.py", *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=sys.stderr, env={**os.environ, "PYTHONPATH": path})


def run_locust(options: Sequence[str], timeout_s: float | None = None) -> int:
    """Run it until it ends by itself; its exit status."""
    with start_locust(options) as process:
        try:
            return process.wait(timeout_s)
        finally:
            process.kill()


def read_csv(prefix: Path, part: str) -> list[dict[str, str]]:
    """The lines of `<prefix>_<part>.csv`, by column; none where locust had nothing to write."""
    path = prefix.with_name(f"{prefix.name}_{part}.csv")
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))
