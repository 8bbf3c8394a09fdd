"""What a request gave."""

from __future__ import annotations

from dataclasses import dataclass

from imagegen.api.reports import GenerationReport
from imagegen.api.tensors import Pixels


@dataclass(frozen=True, eq=False)
class GenerationResult:
    """What a request gave.

    Attributes:
        frames: uint8 RGB [n, H, W, 3].
        seeds: one an image; each with n=1 gives the same image again.
        statistics: what was generated and how long it took: model, task, size, steps, guidance, scheduler, rows of a
            forward on the average (its own and those of other requests), warnings, and milliseconds by stage.
    """

    frames: Pixels
    seeds: tuple[int, ...]
    statistics: GenerationReport
