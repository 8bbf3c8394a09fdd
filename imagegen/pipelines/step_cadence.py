"""Which steps of a request's loop run the denoiser, and which take a forecast of its output from earlier steps.

    off        every step is computed
    fine       every 2nd, the first five and the last two beside
    balanced   every 3rd
    fast       every 5th

A cadence decides, never a value of the device: nobody waits for one, and the same request has the same steps computed
in any company.
"""

from __future__ import annotations

LONGEST_INTERVAL = 5  # a request looks at its cancel where it computes: not for more than four steps
LEAST_STEPS = 8  # of which one or more can be left out

# Steps that are always computed: the output changes most there. With five first ones instead of three the image that is
# furthest from that of all steps is at 51 dB instead of 39 (balanced, 50 steps, 12 captions), for one forward more.
_FIRST, _LAST = 5, 2


def is_computed(number: int, total: int, interval: int) -> bool:
    """Whether a step runs the denoiser.

    Args:
        number: of the step, from 0.
        total: steps of the loop.
        interval: one of so many is computed; 1 for all.
    """
    return number < _FIRST or number >= total - _LAST or (number - _FIRST + 1) % interval == 0


def computed_steps(total: int, interval: int) -> int:
    """How many steps of a loop run the denoiser."""
    between = max(0, total - _FIRST - _LAST)
    return total - between + between // interval
