"""Chooses how a denoiser computes by what its forward takes on this device, once; the choice is remembered.

What is chosen rounds differently. So that an image does not change with each start, a choice that was made is kept, in
a file by the network and by what it runs on, until somebody deletes it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from imagegen.engine.collate import DenoiserCall, forward
from imagegen.engine.compiled.network import identity
from imagegen.engine.compiled.package_key import environment
from imagegen.engine.device_clock import mark, seconds_between, wait_for_device
from imagegen.engine.settings import EngineSettings
from imagegen.pipelines.settings import AUTO
from imagegen.user_caches import user_cache_folder

_BACKENDS = ("_native_cudnn", "_native_efficient")  # exact, of torch itself, and for masks too
_CALLS = 4  # that share the forward which is timed
_WARMUP, _REPEATS = 2, 5
_LEAST_GAIN = 1.03  # below it the default stays

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Way:
    """How a denoiser computes.

    Attributes:
        channels_last: its weights lie in channels-last order.
        attention_backend: of diffusers; empty for its default.
    """

    channels_last: bool = False
    attention_backend: str = ""

    def apply(self, module: Any) -> None:
        """Have a denoiser compute so.

        Raises:
            Exception: this back end cannot be had here.
        """
        module.to(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)
        if self.attention_backend:
            module.set_attention_backend(self.attention_backend)
        elif hasattr(module, "reset_attention_backend"):
            module.reset_attention_backend()


def ways(settings: EngineSettings, module: Any, device: torch.device) -> list[Way]:
    """Those to choose among, the default first.

    Args:
        settings: what is configured stays; what is "auto" is chosen.
        module: the denoiser.
        device: that it is on.
    """
    has_convolutions = any(isinstance(layer, torch.nn.Conv2d) for layer in module.modules())
    formats = [False, True] if settings.channels_last == AUTO and has_convolutions else [settings.channels_last is True]
    backends: Sequence[str] = [settings.attention_backend or ""]
    if settings.attention_backend == AUTO:
        has_choice = device.type == "cuda" and hasattr(module, "set_attention_backend")
        backends = ["", *_BACKENDS] if has_choice else [""]
    return [Way(is_last, backend) for is_last in formats for backend in backends]


class MeasuredTuning:
    """Has denoisers compute in the way that is fastest here.

    Args:
        settings: of the engine.
        folder: of choices that were made; None for one in the user's folder for caches.
    """

    def __init__(self, settings: EngineSettings, folder: Path | None = None) -> None:
        self._settings = settings
        self._folder = folder or user_cache_folder("tuning")

    def choose(self, call: DenoiserCall) -> None:
        """Choose for the module of a call, before it is made; on the device's thread, and nothing else uses it.

        Args:
            call: of an image of the smallest size that is warmed up, or of any.
        """
        choice = ways(self._settings, call.module, call.device)
        if len(choice) < 2:
            return
        file = self._folder / f"{_key(call, choice)}.json"
        best = _remembered(file, choice)
        if best is None:
            best = fastest(call, choice)
            _remember(file, best)
        best.apply(call.module)
        _log.info("%s computes with %s", type(call.module).__name__, best)


def fastest(call: DenoiserCall, choice: Sequence[Way]) -> Way:
    """The one with which a forward of several such calls takes the least time.

    Args:
        call: of an image.
        choice: the default first, which stays where no other is clearly faster; one that fails is left out.
    """
    seconds: dict[Way, float] = {}
    for way in choice:
        try:
            way.apply(call.module)
            seconds[way] = _forward_s(call)
        except Exception as error:
            if way == choice[0]:
                raise
            _log.info("%s: not here: %s", way, str(error).partition("\n")[0][:200])
        else:
            _log.info("%s: %.2f ms a forward", way, 1000 * seconds[way])
    best = min(seconds, key=lambda way: seconds[way])
    return best if seconds[choice[0]] / seconds[best] >= _LEAST_GAIN else choice[0]


def _forward_s(call: DenoiserCall) -> float:
    calls = [call] * _CALLS if call.rules is not None else [call]
    times = []
    for _ in range(_WARMUP + _REPEATS):
        before = mark(call.device)
        forward(calls)
        after = mark(call.device)
        wait_for_device(call.device)
        times.append(seconds_between(before, after))
    return min(times[_WARMUP:])


def _key(call: DenoiserCall, choice: Sequence[Way]) -> str:
    parts = [identity(call.module), environment(call.device), str(call.pixels), json.dumps([*map(asdict, choice)])]
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()


def _remembered(file: Path, choice: Sequence[Way]) -> Way | None:
    """What was chosen among the same ways; None where nothing was, or the file is torn."""
    try:
        values = json.loads(file.read_text())
        return next(way for way in choice if asdict(way) == values)
    except (OSError, ValueError, StopIteration):
        return None


def _remember(file: Path, way: Way) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=file.parent, delete=False) as written:
            json.dump(asdict(way), written)
        os.replace(written.name, file)
    except OSError as error:
        _log.warning("which way is fastest is measured at each start: %s", error)
