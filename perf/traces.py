"""When which requests come: the same trace for every server that is compared."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from perf.control_images import edges_png
from perf.workload import LONG_STEPS, SHORT_SHARE, SHORT_STEPS, TEXT_TO_IMAGE, Request

GUIDANCE_SCALE = 7.5


@dataclass(frozen=True)
class Planned:
    """One request to send.

    Attributes:
        due_s: when it arrives, in seconds from the trace's start; 0 in a closed loop, where the client decides.
        request: what to send; its prompt is its own.
    """

    due_s: float
    request: Request


def poisson_trace(requests: int, rate_per_s: float, seed: int, side_px: int) -> list[Planned]:
    """Short and long requests with exponentially distributed gaps, in order of arrival.

    The gaps are stretched so that the rate is exact: what waits at 80 % load and at 70 % differs by half.

    Args:
        requests: how many.
        rate_per_s: the mean rate of arrival; the last request arrives after `requests / rate_per_s`.
        seed: the same one gives the same trace, at every rate but for the scale of its times.
        side_px: width and height of the images.
    """
    dice = random.Random(seed)
    gaps = [dice.expovariate(1.0) for _ in range(requests)]
    scale = requests / rate_per_s / sum(gaps)
    due_s = 0.0
    planned: list[Planned] = []
    for gap, steps in zip(gaps, mixed_steps(requests, dice), strict=True):
        due_s += gap * scale
        planned.append(Planned(due_s, own_request(len(planned), steps, dice.getrandbits(32), side_px)))
    return planned


def closed_loop_trace(requests: int, seed: int, side_px: int) -> list[Planned]:
    """Short and long requests for clients that send the next one when one is answered; the seed fixes them."""
    dice = random.Random(seed)
    steps = mixed_steps(requests, dice)
    return [Planned(0.0, own_request(i, steps[i], dice.getrandbits(32), side_px)) for i in range(requests)]


def own_request(index: int, steps: int, seed: int, side_px: int) -> Request:
    """A request for one square image by text, with a prompt that no other request of the trace has."""
    prompt = f"image {index} of seed {seed}"
    return Request(TEXT_TO_IMAGE, (side_px, side_px), steps, 1, seed, prompt, GUIDANCE_SCALE)


def with_adapters(trace: Sequence[Planned], names: Sequence[str]) -> list[Planned]:
    """The trace with one adapter a request, in turns; without any it is as it was."""
    if not names:
        return list(trace)
    return [
        replace(planned, request=replace(planned.request, lora=names[index % len(names)]))
        for index, planned in enumerate(trace)
    ]


def with_controls(trace: Sequence[Planned]) -> list[Planned]:
    """The trace with a control image of its own in every second request of each length, from the first on."""
    seen: Counter[int] = Counter()
    changed = []
    for planned in trace:
        request = planned.request
        if seen[request.num_inference_steps] % 2 == 0:
            request = replace(request, control_image=edges_png(request.seed, request.size[0]))
        seen[request.num_inference_steps] += 1
        changed.append(replace(planned, request=request))
    return changed


def mixed_steps(requests: int, dice: random.Random) -> Sequence[int]:
    """Step counts in random order and in exact proportion, so that no trace is heavier than it claims."""
    short = round(requests * SHORT_SHARE)
    steps = [SHORT_STEPS] * short + [LONG_STEPS] * (requests - short)
    dice.shuffle(steps)
    return steps


def mixed_steps_mean() -> float:
    """Steps of a request on the average."""
    return SHORT_SHARE * SHORT_STEPS + (1 - SHORT_SHARE) * LONG_STEPS
