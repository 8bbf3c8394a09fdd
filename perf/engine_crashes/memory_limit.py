"""Memory limits that the kernel enforces on a process that runs."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

_MORE_BYTES = 4 * 2**20
_LEAVING_S = 5.0  # a process that was killed is in its group until it is gone
_LIMITS = ("memory.max", "memory.limit_in_bytes")  # of version 2 of the kernel's interface, and of version 1


@contextmanager
def address_space_limited(process: psutil.Process) -> Iterator[None]:
    """Let a process map 4 MiB more than it has; what it asks for beyond that fails. Lifted at the end."""
    before = process.rlimit(resource.RLIMIT_AS)
    process.rlimit(resource.RLIMIT_AS, (process.memory_info().vms + _MORE_BYTES, before[1]))
    try:
        yield
    finally:
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            process.rlimit(resource.RLIMIT_AS, before)


@contextmanager
def group_limited(process: psutil.Process) -> Iterator[None]:
    """Put a process into a control group of its own, whose memory may grow by 4 MiB: beyond that the kernel kills it.

    What it has by then counts where it was, so that only what it touches anew counts here.

    Raises:
        OSError: there is no control group for memory that may be changed, see `has_memory_group`.
    """
    group = _own_group() / f"imagegen-crashes-{os.getpid()}"
    group.mkdir()
    try:
        _limit_file(group).write_text(str(_MORE_BYTES))
        (group / "cgroup.procs").write_text(str(process.pid))
        yield
    finally:
        _remove(group)


def has_memory_group() -> bool:
    """Whether `group_limited` is possible here."""
    try:
        group = _own_group() / f"imagegen-crashes-{os.getpid()}"
        group.mkdir()
    except OSError:
        return False
    try:
        _limit_file(group).write_text(str(_MORE_BYTES))
        return True
    except OSError:
        return False
    finally:
        _remove(group)


def _own_group(membership: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> Path:
    """The control group of this process in which memory is limited."""
    by_controllers = {}
    for line in membership.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        by_controllers[controllers] = path.lstrip("/")
    if "memory" in by_controllers:
        return mounted / "memory" / by_controllers["memory"]
    return mounted / by_controllers.get("", "")


def _limit_file(group: Path) -> Path:
    for name in _LIMITS:
        if (group / name).exists():
            return group / name
    raise FileNotFoundError(f"{group} has none of {', '.join(_LIMITS)}")


def _remove(group: Path) -> None:
    until_s = time.monotonic() + _LEAVING_S
    while True:
        try:
            group.rmdir()
            return
        except OSError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.02)
