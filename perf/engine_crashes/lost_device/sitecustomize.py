"""Imported by the engine's process at its start: lets a signal take its device away.

A GPU that is lost to a process raises `AcceleratorError` from then on, at every call. There is none here, so after
SIGUSR1 the layers that every denoiser has raise it instead. Python imports a module of this name where it finds one,
and `perf.engine_crashes.trial` puts it where only the engine's process looks: beside the model's own file.
"""

import signal
from typing import NoReturn


def _lose_device(*_: object) -> None:
    import torch

    def fail(*_: object, **__: object) -> NoReturn:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered (a fake one)")

    torch.nn.functional.linear = torch.nn.functional.conv2d = fail


signal.signal(signal.SIGUSR1, _lose_device)
