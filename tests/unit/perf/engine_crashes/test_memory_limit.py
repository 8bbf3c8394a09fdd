"""A process is limited for as long as the context lasts, whichever interface the kernel has."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from perf.engine_crashes import memory_limit
from perf.engine_crashes.memory_limit import address_space_limited, group_limited, has_memory_group

ASKS = """
import sys
for line in sys.stdin:
    try:
        b"x" * (64 * 2**20)
        print("ok", flush=True)
    except MemoryError:
        print("none", flush=True)
"""


@pytest.fixture
def asking() -> Iterator[subprocess.Popen[str]]:
    """A process that asks for 64 MiB at every line."""
    with subprocess.Popen(
        [sys.executable, "-c", ASKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        yield process
        process.kill()


def ask(process: subprocess.Popen[str]) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    return process.stdout.readline().strip()


def test_allocations_fail_until_the_limit_is_lifted(asking: subprocess.Popen[str]) -> None:
    assert ask(asking) == "ok"
    with address_space_limited(psutil.Process(asking.pid)):
        assert ask(asking) == "none"
    assert ask(asking) == "ok"


@pytest.mark.skipif(not has_memory_group(), reason="no control group for memory may be made here")
def test_the_kernel_kills_what_takes_more_than_its_group_may(asking: subprocess.Popen[str]) -> None:
    assert ask(asking) == "ok"
    with group_limited(psutil.Process(asking.pid)):
        assert ask(asking) == ""
        assert asking.wait(10) == -9
    assert has_memory_group()


@pytest.mark.parametrize(
    ("membership", "folder"),
    [("5:cpu:/a\n4:memory:/b/c\n0::/\n", "memory/b/c"), ("0::/user/d\n", "user/d"), ("0::/\n", "")],
)
def test_the_group_of_this_process(membership: str, folder: str, tmp_path: Path) -> None:
    file = tmp_path / "cgroup"
    file.write_text(membership)
    assert memory_limit._own_group(file, tmp_path) == tmp_path / folder
