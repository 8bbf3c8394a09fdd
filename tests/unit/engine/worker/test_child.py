"""A process of an engine ends with the one that started it, and not by Ctrl-C."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
from typing import Any

import psutil
import pytest

from imagegen.engine.worker.child import importing
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


def test_what_was_imported_is_not_looked_through_for_garbage() -> None:
    frozen = gc.get_freeze_count()
    kept: list[Any] = []
    try:
        with importing():
            assert not gc.isenabled()
            kept.append([kept])
        assert gc.isenabled()
        assert gc.get_freeze_count() > frozen
        assert not any(found is kept for found in gc.get_objects())
    finally:
        gc.unfreeze()
        gc.freeze()  # as tests/conftest.py leaves it
