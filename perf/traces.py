"""The load: which requests come when, the same for every engine under test."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

SHORT_STEPS = 4
LONG_STEPS = 50
SHORT_SHARE = 0.7


@dataclass(frozen=True)
class Planned:
    """One request to send.

    Attributes:
        index: its place in the trace; also what makes its prompt its own.
        due_s: when it arrives, in seconds from the trace's start; 0 in a closed loop, where the client decides.
        num_inference_steps: SHORT_STEPS or LONG_STEPS.
        seed: of its image.
    """

    index: int
    due_s: float
    num_inference_steps: int
    seed: int

    @property
    def prompt(self) -> str:
        """Text that no other request of the trace has."""
        return f"image {self.index} of seed {self.seed}"


def poisson_trace(requests: int, rate_per_s: float, seed: int) -> list[Planned]:
    """Requests with exponentially distributed gaps, in order of arrival.

    The gaps are stretched so that the rate is exact: what waits at 80 % load and at 70 % differs by half.

    Args:
        requests: how many.
        rate_per_s: the mean rate of arrival; the last request arrives after `requests / rate_per_s`.
        seed: the same one gives the same trace, at every rate but for the scale of its times.
    """
    dice = random.Random(seed)
    steps = _mix(requests, dice)
    drawn = [(dice.expovariate(1.0), dice.getrandbits(32)) for _ in steps]
    scale = requests / rate_per_s / sum(gap for gap, _ in drawn)
    due_s = 0.0
    planned = []
    for index, (gap, image_seed) in enumerate(drawn):
        due_s += gap * scale
        planned.append(Planned(index, due_s, steps[index], image_seed))
    return planned


def closed_loop_shares(clients: int, each: int, seed: int) -> list[list[Planned]]:
    """The requests of a closed loop, in shares of equal size, one a client.

    Args:
        clients: how many.
        each: requests of a client.
        seed: the same one gives the same requests.
    """
    dice = random.Random(seed)
    planned = [Planned(i, 0.0, steps, dice.getrandbits(32)) for i, steps in enumerate(_mix(clients * each, dice))]
    return [planned[client::clients] for client in range(clients)]


def _mix(requests: int, dice: random.Random) -> Sequence[int]:
    """Step counts in random order and in exact proportion, so that no trace is heavier than it claims."""
    short = round(requests * SHORT_SHARE)
    steps = [SHORT_STEPS] * short + [LONG_STEPS] * (requests - short)
    dice.shuffle(steps)
    return steps
