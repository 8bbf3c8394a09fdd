"""The one pretend device of a process: its name, its counters, memory and clock, and what it tells torch."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
import torch.utils.backend_registration as registration

from tests.accelerator.clock import Clock
from tests.accelerator.counters import Counters, Kind
from tests.accelerator.memory import Memory

NAME = "pretend"
_UNLIMITED_BYTES = 2**40


class PretendDevice:
    """Where the state of the device lies.

    Attributes:
        counters: launches, synchronisations and copies.
        memory: bytes.
        clock: set by a test that asks how long the device idles; else None, and nothing is timed.
    """

    def __init__(self) -> None:
        self.counters = Counters()
        self.memory = Memory()
        self.clock: Clock | None = None
        self._arriving: deque[tuple[torch.Tensor, torch.Tensor]] = deque()

    def synchronise(self) -> None:
        """The host waits for all that is queued: counted."""
        self.counters.count(Kind.SYNCHRONISATION)
        if self.clock is not None:
            self.clock.synchronise()
        self.arrive()

    def copy_later(self, source: torch.Tensor) -> torch.Tensor:
        """A tensor on the host that holds nothing of use until an event behind it has passed."""
        target = torch.empty_like(source)  # dense, in the order of the source's own dimensions
        flat = target.as_strided((target.numel(),), (1,))
        flat.view(torch.uint8).fill_(0xA5) if target.ndim else target.fill_(1)
        self._arriving.append((target, source.clone()))
        return target

    def arrive(self) -> None:
        """Let all that was copied arrive."""
        while self._arriving:
            target, source = self._arriving.popleft()
            target.copy_(source)


DEVICE = PretendDevice()


class Event:
    """A moment in the queue, as `torch.cuda.Event`.

    Without a clock it has passed when it is asked for the second time: time goes by between two questions.
    """

    def __init__(self, enable_timing: bool = False) -> None:
        self._asked = 0
        self._at_s = 0.0

    def record(self, stream: torch.device | None = None) -> None:
        """Here, on the stream of a device.

        Raises:
            RuntimeError: none is named: torch would take that of the thread's own device, which may be another one.
        """
        if stream != TORCH_DEVICE:
            raise RuntimeError("an event is recorded on the stream of whatever device the thread has")
        self._asked = 0
        self._at_s = DEVICE.clock.device_s if DEVICE.clock is not None else 0.0

    def query(self) -> bool:
        """Whether it has passed; does not wait."""
        self._asked += 1
        passed = self._asked > 1 if DEVICE.clock is None else DEVICE.clock.host_s >= self._at_s
        if passed:
            DEVICE.arrive()
        return passed

    def synchronize(self) -> None:
        """Wait until it has passed."""
        DEVICE.synchronise()


class _BackendModule:
    """What torch asks a device's module for."""

    Event = Event

    def current_stream(self, device: torch.device) -> torch.device:
        """Of which there is one."""
        return device

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        pass

    def get_rng_state(self, device: Any = None) -> torch.Tensor:
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:
        torch.set_rng_state(state)

    def empty_cache(self) -> None:
        pass

    def synchronize(self, device: Any = None) -> None:
        DEVICE.synchronise()

    def memory_allocated(self, device: Any = None) -> int:
        return DEVICE.memory.live_bytes

    def max_memory_allocated(self, device: Any = None) -> int:
        return DEVICE.memory.peak_bytes

    def reset_peak_memory_stats(self, device: Any = None) -> None:
        DEVICE.memory.reset_peak()

    def mem_get_info(self, device: Any = None) -> tuple[int, int]:
        """Bytes that are free, and all; without a limit more than any test takes."""
        total_bytes = _UNLIMITED_BYTES if DEVICE.memory.limit_bytes is None else DEVICE.memory.limit_bytes
        return total_bytes - DEVICE.memory.live_bytes, total_bytes


registration._setup_privateuseone_for_python_backend(NAME, backend_module=_BackendModule())
TORCH_DEVICE = torch.device(NAME, 0)
