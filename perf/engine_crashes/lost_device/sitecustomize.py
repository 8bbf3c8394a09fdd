"""Imported by Python at its start where this folder is on PYTHONPATH: lets a signal take the engine's device away.

A GPU that is lost to a process raises `AcceleratorError` from then on, at every call. There is none here, so after
SIGUSR1 the layers that every denoiser has raise it instead. In no other process than the engine's does this do
anything.
"""

import signal
import sys
from typing import NoReturn


def _lose_device(*_: object) -> None:
    import torch

    def fail(*_: object, **__: object) -> NoReturn:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered (a fake one)")

    torch.nn.functional.linear = torch.nn.functional.conv2d = fail


if "imagegen.engine.worker" in sys.orig_argv:
    signal.signal(signal.SIGUSR1, _lose_device)
