"""What is freed is given back, also after many buffers of many sizes. In a process of its own: it changes malloc."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_PROGRAM = """
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


def test_large_buffers_leave_no_gaps_behind() -> None:
    folder = Path(__file__).resolve().parents[3] / "model_repository" / "image_preprocess" / "1"
    printed = subprocess.check_output([sys.executable, "-c", _PROGRAM], cwd=folder, text=True, timeout=60)
    assert float(printed) < 60  # MiB: the 20 that are kept, of the 500 that were freed nearly none
