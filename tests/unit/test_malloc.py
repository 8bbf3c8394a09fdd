"""What is freed goes back to the system, or is kept. In processes of their own, for it changes malloc."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

_RETURNED = """
import random, psutil
from imagegen.malloc import return_freed_memory
return_freed_memory()
rss = psutil.Process().memory_info
for _ in range(3):
    large = bytes(31 * 2**20)  # after which malloc would take all that is smaller from its heap
    del large
kept, start_bytes, dice = [], rss().rss, random.Random(0)
for _ in range(200):
    kept.append(b"x" * dice.randint(2**20, 2**22))
    kept.append(b"x" * 100_000)  # lies behind it in the heap, if it is in the heap
del kept[::2]
print((rss().rss - start_bytes) / 2**20)
"""
_KEPT = """
import psutil
from imagegen.malloc import keep_freed_memory
keep_freed_memory()
rss = psutil.Process().memory_info
start_bytes = rss().rss
tensors = [b"x" * 2**20 for _ in range(100)]
del tensors
print((rss().rss - start_bytes) / 2**20)
"""


def grown_mib(program: str) -> float:
    """By how many MiB the process that runs it has grown."""
    return float(subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True, timeout=60))


def test_large_buffers_leave_no_gaps_behind() -> None:
    assert grown_mib(_RETURNED) < 60  # the 20 that are kept, of the 500 that were freed nearly none


def test_what_a_forward_frees_is_there_for_the_next() -> None:
    assert grown_mib(_KEPT) > 90
