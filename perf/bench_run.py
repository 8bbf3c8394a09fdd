"""Runs one part of the bench in a process of its own, within its time."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from perf.bench_parts import Part
from perf.bench_report import Outcome

_ROOT = Path(__file__).resolve().parents[1]
_GRACE_S = 25.0  # for a part to end its servers after Ctrl-C
_REASON_LINES = 3
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def run_part(part: Part, extra: list[str], timeout_s: float) -> Outcome:
    """Run it; what it prints on stderr is shown too. Its report and numbers are left where `extra` says.

    Args:
        part: what to run.
        extra: further arguments.
        timeout_s: after which it is ended, 0 and below for not at all.
    """
    if timeout_s <= 0:
        return Outcome(part.name, part.result, 0.0, "no time was left")
    started_s = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", *part.command, *extra],
        cwd=_ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | _terminal(),
    )
    printed: list[str] = []
    reader = threading.Thread(target=_show, args=(process, printed), daemon=True)
    reader.start()
    late = ""
    try:
        status = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        late = f"ended after {timeout_s:.0f} s, its share of the time"
        status = _end(process)
    except BaseException:
        _end(process)
        raise
    reader.join(timeout=2)
    reason = late or (f"exit status {status}: {last_words(''.join(printed))}" if status else "")
    return Outcome(part.name, part.result, time.monotonic() - started_s, reason)


def last_words(printed: str) -> str:
    """The last lines that are not about files written, as one line."""
    lines = [_CONTROL.sub("", line).strip() for line in printed.splitlines()]
    told = [line for line in lines if line and not line.startswith("written: ")]
    return " · ".join(told[-_REASON_LINES:])[:600]


def _terminal() -> dict[str, str]:
    """So that progress bars are drawn through the pipe where there is a terminal behind it."""
    if not sys.stderr.isatty():
        return {}
    return {"FORCE_COLOR": "1", "COLUMNS": str(shutil.get_terminal_size().columns)}


def _show(process: subprocess.Popen[str], printed: list[str]) -> None:
    assert process.stderr is not None
    with process.stderr:
        for line in process.stderr:
            printed.append(line)
            sys.stderr.write(line)
            sys.stderr.flush()


def _end(process: subprocess.Popen[str]) -> int:
    """As Ctrl-C does, then for good. The servers it started end with it."""
    os.killpg(process.pid, signal.SIGINT)
    try:
        return process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()
