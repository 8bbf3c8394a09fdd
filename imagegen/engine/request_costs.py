"""Learns from finished images what a request will take, so that one that cannot be finished in time is never begun."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from imagegen.api.errors import DeadlineExceeded, InvalidArgument
from imagegen.engine.pipeline_call import GeneratedImage
from imagegen.pipelines.plan import Plan

_MARGIN = 1.5  # a machine that was busy with something else, as at its start, learnt too much


@dataclass(frozen=True)
class _Cost:
    """The least that images of one size were seen to take, in seconds.

    Attributes:
        call_s: from one denoiser call to the next.
        share_s: of the device for a denoiser call; less than `call_s` where images share a forward.
        decode_s: from the last denoiser call to pixels.
    """

    call_s: float
    share_s: float
    decode_s: float

    def least(self, other: _Cost) -> _Cost:
        return _Cost(
            min(self.call_s, other.call_s), min(self.share_s, other.share_s), min(self.decode_s, other.decode_s)
        )

    def scaled(self, by: float) -> _Cost:
        return _Cost(self.call_s * by, self.share_s * by, self.decode_s * by)

    def beyond(self, other: _Cost, by: float) -> _Cost:
        """On the straight line from another cost through this one, so many times their distance further."""
        return _Cost(
            self.call_s + max(0.0, self.call_s - other.call_s) * by,
            self.share_s + max(0.0, self.share_s - other.share_s) * by,
            self.decode_s + max(0.0, self.decode_s - other.decode_s) * by,
        )


class RequestCosts:
    """What images of each size were seen to take, with and without guidance and references. Safe from any thread.

    An estimate is a lower bound: the least that was seen, for a request that has the device to itself.

    Args:
        max_expected_s: longest that a request without a deadline may be expected to take; 0 to refuse nothing.
        native_size: (width, height) that the model is best at, for the refusal.
    """

    def __init__(self, max_expected_s: float, native_size: tuple[int, int]) -> None:
        self._max_expected_s = max_expected_s
        self._native_size = native_size
        self._lock = threading.Lock()
        self._seen: dict[tuple[bool, bool, int], _Cost] = {}  # by references, guidance and pixels

    def note(self, plan: Plan, images: Sequence[GeneratedImage]) -> None:
        """Learn from the images of a request."""
        for image in images:
            if image.call_s is not None:
                share = image.rows / image.batch_rows if image.batch_rows else 1.0
                key, cost = _key(plan), _Cost(image.call_s, image.call_s * share, image.decode_s)
                with self._lock:
                    known = self._seen.get(key)
                    self._seen[key] = cost if known is None else known.least(cost)

    def expected_s(self, plan: Plan) -> float | None:
        """Seconds that a request will take at least; None when nothing is known of any size."""
        edits, guided, pixels = _key(plan)
        with self._lock:
            cost = self._cost(edits, guided, pixels)
            if cost is None and edits:  # it takes as long as without references, or longer
                cost = self._cost(False, guided, pixels)
        if cost is None:
            return None
        images = len(plan.seeds)
        return plan.expected_calls * max(cost.call_s, images * cost.share_s) + images * cost.decode_s

    def _cost(self, edits: bool, guided: bool, pixels: int) -> _Cost | None:
        """The cost at a size, with or without references; None when nothing is known of any size."""
        seen = {key: cost for key, cost in self._seen.items() if key[0] == edits}
        cost = _cost_of(pixels, {size: cost for (_, kind, size), cost in seen.items() if kind == guided})
        if cost is None:  # without guidance there are half as many rows, which take half as long or more
            cost = _cost_of(pixels, {size: cost.scaled(0.5) for (*_, size), cost in seen.items()})
        return cost

    def check(self, plan: Plan, deadline_s: float | None) -> None:
        """Refuse a request that cannot be finished in time.

        Args:
            plan: the request.
            deadline_s: on the clock of `time.monotonic`; None for none.

        Raises:
            DeadlineExceeded: it takes longer than until its deadline.
            InvalidArgument: it has none, and takes longer than `max_expected_s`.
        """
        expected_s = self.expected_s(plan) if self._max_expected_s else None
        if expected_s is None:
            return
        (width, height), steps, images = plan.size, plan.num_inference_steps, len(plan.seeds)
        takes = f"{images} of {width}x{height} in {steps} steps takes {expected_s:.3g} s or more on this server"
        if deadline_s is not None:
            if expected_s > _MARGIN * (deadline_s - time.monotonic()):
                raise DeadlineExceeded(f"{takes}, longer than is left of timeout_ms, {plan.timeout_ms}")
        elif expected_s > _MARGIN * self._max_expected_s:
            native_width, native_height = self._native_size
            raise InvalidArgument(
                "size",
                f"{takes}, and {self._max_expected_s:g} s are allowed without timeout_ms; take a smaller size (the"
                f" model's own is {native_width}x{native_height}), fewer steps or a smaller n, or say timeout_ms",
            )


def _key(plan: Plan) -> tuple[bool, bool, int]:
    width, height = plan.size
    return bool(plan.references), (plan.guidance_scale or 0) > 1, width * height


def _cost_of(pixels: int, seen: dict[int, _Cost]) -> _Cost | None:
    """The cost at a size, from the nearest known ones that are not larger, else from the smallest.

    Upwards by the straight line through two, which leaves out what a step costs whatever its size, or in proportion to
    the pixels from one; downwards by their square. Attention grows faster than the one and more slowly than the other,
    so all are lower bounds.
    """
    if not seen:
        return None
    smaller = sorted(size for size in seen if size <= pixels)
    if not smaller:
        smallest = min(seen)
        return seen[smallest].scaled((pixels / smallest) ** 2)
    near = smaller[-1]
    proportional = seen[near].scaled(pixels / near)
    if len(smaller) == 1:
        return proportional
    below = smaller[-2]
    return proportional.least(seen[near].beyond(seen[below], (pixels - near) / (near - below)))
