"""Which devices an engine computes on, and whether they are there."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from imagegen.engine.settings import EngineSettings


def default_device() -> str:
    """A GPU where there is one, else the host."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def rank_devices(settings: EngineSettings, default_device: str) -> list[str]:
    """The device of each rank, as torch names it; of rank 0 first, one unless the setting `devices` says otherwise.

    Args:
        settings: of the engine.
        default_device: of the setting "auto".

    Raises:
        ValueError: the setting `devices` names one that is not there.
    """
    if not settings.devices:
        return [default_device if settings.device == "auto" else settings.device]
    names = [f"cuda:{name}" if name.isdecimal() else name for name in settings.devices]
    for name in names:
        _check_there(name)
    if len({torch.device(name).type for name in names}) > 1:
        raise ValueError(f"parameter devices: {', '.join(names)} are not of one kind")
    accelerators = [torch.device(name) for name in names if torch.device(name).type != "cpu"]
    if len(set(accelerators)) < len(accelerators):
        raise ValueError(f"parameter devices: {', '.join(names)} name a device twice, which only cpu may be")
    return names


def threads_of_a_rank(settings: EngineSettings, devices: Sequence[str]) -> EngineSettings:
    """Settings in which ranks on the host share its cores, where nothing is said of threads."""
    if len(devices) < 2 or settings.cpu_threads or torch.device(devices[0]).type != "cpu":
        return settings
    return settings.model_copy(update={"cpu_threads": max(1, torch.get_num_threads() // len(devices))})


def _check_there(name: str) -> None:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"parameter devices: {name!r} is no device; allowed are numbers of GPUs, and cpu") from None
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            there = f"numbers 0 to {count - 1}" if count > 1 else "number 0" if count else "none"
            raise ValueError(f"parameter devices: {name} is not there; this machine's GPUs: {there}")
