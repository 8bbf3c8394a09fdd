"""How fast to learn."""

from __future__ import annotations

import math

_RAMP_STEPS = 100


def ramp_and_cosine(peak: float, progress: int, steps: int) -> float:
    """Learning rate after `progress` of `steps`: a short ramp to `peak`, then a cosine to nothing."""
    return peak * min(1.0, (progress + 1) / _RAMP_STEPS) * 0.5 * (1 + math.cos(math.pi * progress / steps))
