"""Errors of a device after which every later call of the process fails: only a new process helps."""

from __future__ import annotations

import logging
import re

import torch

from imagegen.engine.worker.child import end
from imagegen.engine.worker.messages import FATAL_DEVICE_FAULT

_NEVER_AGAIN = re.compile(r"could not create a primitive(?! descriptor)")  # the latter is of what it cannot do at all

_log = logging.getLogger(__name__)


def is_fatal(error: BaseException | None) -> bool:
    """Whether an error, or what it comes from, says that the device is lost to this process.

    torch raises `AcceleratorError` for an error of CUDA's that is reported by a later call too, such as an illegal
    access; running out of memory is none of them. On a CPU, what oneDNN could not compile for want of memory it never
    tries again: every later image of that size fails, however much memory there is by then (seen with torch 2.13).
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, torch.AcceleratorError) and not isinstance(error, torch.OutOfMemoryError):
            return True
        if isinstance(error, RuntimeError) and _NEVER_AGAIN.search(str(error)):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


def end_after_fatal_fault(error: BaseException) -> None:
    """End this process at once where the device is lost to it; who watches it answers its requests."""
    if is_fatal(error):
        _log.critical("the device is lost to this process: %s", error)
        end(FATAL_DEVICE_FAULT)
