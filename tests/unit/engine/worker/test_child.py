"""A process of an engine ends with the one that started it, and not by Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys

import psutil
import pytest

from tests.unit.tiny_engine import has_ended, wait_until

CHILD = """
import sys, time
from imagegen.engine.worker.child import begin_child
begin_child()
print("begun", flush=True)
time.sleep(600)
"""
PARENT = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {CHILD!r}], stdin=subprocess.PIPE)
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_child_ends_with_its_parent_also_when_it_is_stopped(is_stopped: bool) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        lines = sorted(parent.stdout.readline().strip() for _ in range(2))
        assert lines[1] == "begun"
        child = psutil.Process(int(lines[0]))
        child.send_signal(signal.SIGINT)
        if is_stopped:
            child.suspend()
        assert child.is_running()
        parent.kill()
    wait_until(lambda: has_ended(child))
