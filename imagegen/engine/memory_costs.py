"""Learns in the warm-up what memory an image takes, so that one that can never fit is never begun.

Only of a device that says what it holds, as CUDA's does: nothing is learnt on a CPU.
"""

from __future__ import annotations

import gc
import threading
from bisect import bisect
from dataclasses import dataclass
from typing import Any

import torch

from imagegen.api.errors import InvalidArgument
from imagegen.engine.collate import DenoiserCall
from imagegen.engine.denoiser_proxy import RunCall
from imagegen.engine.finite_check import DECODE, DENOISE, ENCODE
from imagegen.pipelines.plan import Plan

_MARGIN = 1.25  # convolutions take more workspace where there is room than where there is none
_FAR_APART = 2  # so many times the pixels, that what a size adds stands out from what differs by chance
_STAYS = 0.1  # of an image's peak, may stay on the device after it: a prompt that is remembered


@dataclass(frozen=True)
class MemoryCost:
    """The most bytes that one image holds at once above what rests on the device, by stage.

    Attributes:
        encode_bytes: before the first denoiser call.
        denoise_bytes: from there to the end of the last.
        decode_bytes: from there to pixels.
        held_bytes: of those, what is there when decoding begins: latents, text states, an input image.
    """

    encode_bytes: int
    denoise_bytes: int
    decode_bytes: int
    held_bytes: int

    @property
    def peak_bytes(self) -> int:
        """Of all stages."""
        return max(self.by_stage().values())

    def by_stage(self) -> dict[str, int]:
        """Bytes by the name of the stage."""
        return {ENCODE: self.encode_bytes, DENOISE: self.denoise_bytes, DECODE: self.decode_bytes}

    def summary(self) -> str:
        """The peak and the stage that decides it, for a log line."""
        stages = self.by_stage()
        return f"an image takes {_gigabytes(self.peak_bytes)} at once, to {max(stages, key=stages.__getitem__)}"


class Disturbed(Exception):
    """Something else used the device while an image was measured."""


class MemoryMeter:
    """Watches the device while it generates one image and nothing else; on the device's thread.

    It sees all that this process holds there, and would count as the image's what somebody else holds meanwhile. So
    where the device does not come back near to what rested there before, nothing is learnt. What comes and goes while
    the image is generated cannot be told from it: who measures sees to it that no other engine is at work.

    Args:
        device: for which `tells_memory` is true.
        run_call: runs one denoiser call.

    Attributes:
        room_bytes: what the device has beside what rests there.

    Raises:
        RuntimeError: the device does not say what it has after all, as Intel's under WSL2.
    """

    def __init__(self, device: torch.device, run_call: RunCall) -> None:
        self._device = device
        self._module: Any = torch.get_device_module(device)
        self._run_call = run_call
        self._stage = ENCODE
        self._peaks = {ENCODE: 0, DENOISE: 0, DECODE: 0}
        self._held_bytes = 0
        gc.collect()  # what earlier images have left in cycles does not rest there
        self._rest_bytes = int(self._module.memory_allocated(device))
        self.room_bytes = int(self._module.mem_get_info(device)[1]) - self._rest_bytes
        self._module.reset_peak_memory_stats(device)

    def run_call(self, call: DenoiserCall) -> Any:
        """Run a denoiser call, and know where one stage ends and the next begins."""
        self._note(self._stage)
        self._stage = DENOISE
        output = self._run_call(call)
        self._note(DENOISE)
        self._held_bytes = int(self._module.memory_allocated(self._device)) - self._rest_bytes
        return output

    def finish(self) -> MemoryCost:
        """What the image took, which is finished.

        Raises:
            Disturbed: what rests on the device is not what it was.
        """
        self._note(DECODE)
        cost = MemoryCost(self._peaks[ENCODE], self._peaks[DENOISE], self._peaks[DECODE], self._held_bytes)
        gc.collect()
        more_bytes = int(self._module.memory_allocated(self._device)) - self._rest_bytes
        if abs(more_bytes) > _STAYS * cost.peak_bytes:
            raise Disturbed(f"{_gigabytes(more_bytes)} more rest on the device than before")
        return cost

    def _note(self, stage: str) -> None:
        """What was held since the last time belongs to this stage."""
        peak_bytes = int(self._module.max_memory_allocated(self._device)) - self._rest_bytes
        self._peaks[stage] = max(self._peaks[stage], peak_bytes)
        self._module.reset_peak_memory_stats(self._device)


def tells_memory(device: torch.device) -> bool:
    """Whether a device says what it holds, and what it has."""
    return device.type != "cpu" and hasattr(torch.get_device_module(device), "mem_get_info")


class MemoryCosts:
    """What one image takes by its size, learnt in the warm-up. Safe from any thread.

    Args:
        own_task: what the checkpoint was saved for, warmed up at every size; others take about as much or more.
        native_size: (width, height) that the model is best at, for the refusal.
        tiles: the VAE decodes large images in pieces, so that nothing is known of larger ones and none is refused.
    """

    def __init__(self, own_task: str, native_size: tuple[int, int], *, tiles: bool = False) -> None:
        self._own_task = own_task
        self._tiles = tiles
        self._native_size = native_size
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, bool], dict[int, MemoryCost]] = {}  # by task and guidance, then by pixels
        self._room_bytes = 0

    def note(self, plan: Plan, cost: MemoryCost, room_bytes: int) -> None:
        """Learn from an image of a plan, for which the device had so many bytes beside what rests there."""
        with self._lock:
            seen = self._seen.setdefault((plan.task, _is_guided(plan)), {})
            before = seen.get(_pixels(plan), cost)  # of as many pixels in another shape
            seen[_pixels(plan)] = min(before, cost, key=lambda known: known.peak_bytes)
            self._room_bytes = max(self._room_bytes, room_bytes)

    def expected_bytes(self, plan: Plan) -> int | None:
        """Bytes that one image of a plan takes at once above what rests; None when nothing is known.

        What was seen at this size. Between two sizes the straight line through them, by stage: some of what an image
        holds is the same at any size, all else grows with its pixels or faster. Elsewhere the line through the smallest
        and the largest, where that has twice the pixels or more: workspace differs by some tenths of a GB between two
        sizes that are nearly the same. From one size alone no more than what decoding adds is known to grow. Beyond
        the largest size it is a lower bound, and never more than its peak for each pixel.
        """
        guided, pixels = _is_guided(plan), _pixels(plan)
        with self._lock:
            exact = self._seen.get((plan.task, guided), {}).get(pixels)
            if exact is not None:
                return exact.peak_bytes
            seen = self._seen.get((self._own_task, guided))
            if seen is not None:
                return _at(pixels, seen)
            seen = self._seen.get((self._own_task, not guided))
            # With guidance there are as many rows or more, without it half as many, which take half as much or more.
            return None if seen is None else _at(pixels, seen) // (1 if guided else 2)

    def check(self, plan: Plan) -> None:
        """Refuse a request one image of which can never fit.

        Raises:
            InvalidArgument: it takes more than the device has beside what rests there.
        """
        expected_bytes = None if self._tiles else self.expected_bytes(plan)
        if expected_bytes is None or expected_bytes <= _MARGIN * self._room_bytes:
            return
        (width, height), (native_width, native_height) = plan.size, self._native_size
        raise InvalidArgument(
            "size",
            f"an image of {width}x{height} takes {_gigabytes(expected_bytes)} or more, and the device has"
            f" {_gigabytes(self._room_bytes)} beside the model; take a smaller size (the model's own is"
            f" {native_width}x{native_height})",
        )


def _gigabytes(size_bytes: float) -> str:
    """For a text: 2.5 GB."""
    return f"{size_bytes / 1e9:.3g} GB"


def _is_guided(plan: Plan) -> bool:
    return (plan.guidance_scale or 0) > 1


def _pixels(plan: Plan) -> int:
    width, height = plan.size
    return width * height


def _at(pixels: int, seen: dict[int, MemoryCost]) -> int:
    """The peak at a size that was not seen; see `MemoryCosts.expected_bytes`."""
    sizes = sorted(seen)
    smallest, largest = sizes[0], sizes[-1]
    if smallest < pixels < largest:
        index = bisect(sizes, pixels)
        return _on_line(pixels, sizes[index - 1], sizes[index], seen)
    nearest = smallest if pixels < smallest else largest
    most_bytes = seen[nearest].peak_bytes * max(pixels, nearest) // nearest
    if largest >= _FAR_APART * smallest:
        return min(most_bytes, _on_line(pixels, smallest, largest, seen))
    cost = seen[nearest]
    decoding_bytes = (cost.decode_bytes - cost.held_bytes) * pixels // nearest
    return decoding_bytes if pixels < nearest else max(cost.peak_bytes, decoding_bytes)


def _on_line(pixels: int, low: int, high: int, seen: dict[int, MemoryCost]) -> int:
    """The peak on the straight lines through what the stages took at two sizes."""
    share = (pixels - low) / (high - low)
    ends = zip(seen[low].by_stage().values(), seen[high].by_stage().values(), strict=True)
    return int(max(low_bytes + share * (high_bytes - low_bytes) for low_bytes, high_bytes in ends))
