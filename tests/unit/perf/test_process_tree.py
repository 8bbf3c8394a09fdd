"""What a process and its descendants hold is counted."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

from perf.process_tree import holding

NONE = "no-such-prefix"


def test_a_thread_and_a_socket_more_are_seen() -> None:
    before, go_on = holding(os.getpid(), NONE), threading.Event()
    thread = threading.Thread(target=go_on.wait)
    thread.start()
    with socket.socket():
        during = holding(os.getpid(), NONE)
    go_on.set()
    thread.join()
    assert during.threads == before.threads + 1
    assert during.sockets == before.sockets + 1
    assert during.rss_bytes > 0


def test_children_count_too() -> None:
    before = holding(os.getpid(), NONE)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert holding(os.getpid(), NONE).processes == before.processes + 1
        child.communicate(b"\n")


def test_shared_memory_of_that_name_only() -> None:
    file = Path("/dev/shm") / f"test_process_tree_{os.getpid()}"
    file.write_bytes(bytes(8192))
    try:
        assert holding(os.getpid(), file.name).shm_bytes == 8192
        assert holding(os.getpid(), NONE).shm_bytes == 0
    finally:
        file.unlink()


def test_a_process_that_is_gone_holds_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    assert holding(child.pid, NONE).processes == 0
