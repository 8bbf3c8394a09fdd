"""The ways in which an engine is ended."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from perf.engine_crashes.memory_limit import address_space_limited, group_limited

_HANG_TIMEOUT_S = 2.0
_LOOKS_S = 1.5  # between two looks of the watch, and of a sign of life that was sent just before
_LOST_DEVICE = Path(__file__).with_name("lost_device") / "sitecustomize.py"


@dataclass(frozen=True)
class Kind:
    """One way in which an engine is ended.

    Attributes:
        meaning: for the report.
        harm: does it to the process, and at the end of the context takes away what it has left.
        longest_s: until the process has to have ended; or for which the harm lasts, where it may survive.
        is_immediate: whether the process has ended when `harm` has begun, so that time counts from then on.
        may_survive: whether the process may go on.
        takes_memory: whether more memory than before has to be asked for to be harmed; the engine keeps what it had.
        parameters: of the server, `{"model.parameter": value}`.
        module: a file that the engine's process imports when it starts; None for none.
    """

    meaning: str
    harm: Callable[[psutil.Process], AbstractContextManager[None]]
    longest_s: float
    is_immediate: bool = False
    may_survive: bool = False
    takes_memory: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)
    module: Path | None = None


def _signal(sent: signal.Signals) -> Callable[[psutil.Process], AbstractContextManager[None]]:
    @contextmanager
    def harm(process: psutil.Process) -> Iterator[None]:
        process.send_signal(sent)
        yield

    return harm


KINDS = {
    "kill": Kind("SIGKILL", _signal(signal.SIGKILL), 1.0, is_immediate=True),
    "segv": Kind("SIGSEGV", _signal(signal.SIGSEGV), 1.0, is_immediate=True),
    "stop": Kind(
        f"SIGSTOP, with hang_timeout_s={_HANG_TIMEOUT_S:g}; counted from when the watch has ended it",
        _signal(signal.SIGSTOP),
        _HANG_TIMEOUT_S + _LOOKS_S,
        parameters={"diffusion.hang_timeout_s": f"{_HANG_TIMEOUT_S:g}"},
    ),
    "memory": Kind(
        "a control group that lets it have 4 MiB more, and large requests; counted from when the kernel has killed it",
        group_limited,
        30.0,
        takes_memory=True,
    ),
    "allocations": Kind(
        "RLIMIT_AS 4 MiB above what it has, and large requests, for 3 s or until it ends; counted from then on",
        address_space_limited,
        3.0,
        may_survive=True,
        takes_memory=True,
    ),
    "device": Kind(
        "every layer raises torch.AcceleratorError; counted from when the process has ended itself",
        _signal(signal.SIGUSR1),
        10.0,
        module=_LOST_DEVICE,
    ),
}
"""By name."""
