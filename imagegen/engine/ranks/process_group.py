"""Buffers from device to device, over a process group of torch: NCCL between GPUs, gloo on the host."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist


class GroupLostError(Exception):
    """The group cannot be used any more: one of its ranks has died, or does not respond."""


class Sending:
    """A buffer on its way; it must not change before `wait` has returned."""

    def __init__(self, work: Any, buffer: torch.Tensor) -> None:
        self._work = work
        self._buffer = buffer

    def wait(self) -> None:
        """Wait until it is sent.

        Raises:
            GroupLostError: it could not be sent.
        """
        try:
            self._work.wait()
        except RuntimeError as error:
            raise GroupLostError(f"a buffer could not be sent: {error}") from error


class ProcessGroup:
    """All ranks of an engine, each in a process on this machine. Making one waits for the others.

    Args:
        store: path of a file by which they find each other.
        rank: of this process.
        ranks: how many there are.
        device: of this process.
        timeout_s: longest that one waits for another.

    Raises:
        RuntimeError: the others did not come.
    """

    def __init__(self, store: Path, rank: int, ranks: int, device: torch.device, timeout_s: float) -> None:
        self._device = device
        is_gpu = device.type == "cuda"
        if is_gpu:
            torch.cuda.set_device(device)
        # gloo would take the address of the machine's name, which may be none.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        dist.init_process_group(
            dist.get_default_backend_for_device(device),
            store=dist.FileStore(str(store), ranks),  # type: ignore[attr-defined]
            rank=rank,
            world_size=ranks,
            timeout=timedelta(seconds=timeout_s),
            device_id=device if is_gpu else None,
        )

    def start_sending(self, buffer: torch.Tensor, rank: int) -> Sending:
        """Send a buffer to a rank, which has to receive it.

        Raises:
            GroupLostError: it cannot be sent.
        """
        try:
            return Sending(dist.isend(buffer, dst=rank), buffer)
        except RuntimeError as error:
            raise GroupLostError(f"a buffer could not be sent: {error}") from error

    def receive(self, size: int, rank: int) -> torch.Tensor:
        """Receive what a rank sends, uint8 [size].

        Raises:
            GroupLostError: nothing came, or there is no room for it, and the other one waits for ever.
        """
        try:
            buffer = torch.empty(size, dtype=torch.uint8, device=self._device)
            dist.recv(buffer, src=rank)
        except RuntimeError as error:
            raise GroupLostError(f"a buffer did not come: {error}") from error
        return buffer
