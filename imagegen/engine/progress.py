"""Publishes how far a request has come, while its images are generated. On the device thread."""

from __future__ import annotations

import logging
from collections.abc import Callable

from imagegen.api.events import Ended, Event, Preview, Progress
from imagegen.engine.transfer import receive
from imagegen.pipelines.previews import Projection
from imagegen.pipelines.steps import Step

_log = logging.getLogger(__name__)


class ProgressPublisher:
    """Publishes the progress of one request, and previews of its images at evenly spaced steps.

    Args:
        count: number of images.
        size: (width, height) of an image in pixels.
        previews: how many of each image.
        projection: makes them; None for none.
        publish: takes the events; what it raises is logged.
    """

    def __init__(
        self,
        count: int,
        size: tuple[int, int],
        previews: int,
        projection: Projection | None,
        publish: Callable[[Event], None],
    ) -> None:
        self._size = size
        self._previews = previews
        self._projection = projection
        self._publish = publish
        self._steps = [0] * count
        self._published = 0
        self._ended = False

    def stepped(self, image_index: int, step: Step) -> None:
        """An image has done a step."""
        self._steps[image_index] = step.number
        progress = Progress(min(self._steps), step.total)
        if progress.step > self._published:
            self._published = progress.step
            self._send(progress)
        chosen = preview_steps(step.total, self._previews)
        if self._projection is None or step.number not in chosen:
            return
        try:
            (pixels,) = receive(self._projection.pixels(step.latents, self._size))
        except Exception:  # an image is worth more than its previews
            _log.exception("a preview could not be made; there will be no more of this request")
            self._projection = None
        else:
            self._send(Preview(progress, chosen.index(step.number), image_index, self._size, pixels.numpy()))

    def ended(self) -> None:
        """Nothing more will come; of no effect the second time, and maybe on another thread."""
        if not self._ended:
            self._ended = True
            self._publish_safely(Ended())

    def _send(self, event: Event) -> None:
        if not self._ended:
            self._publish_safely(event)

    def _publish_safely(self, event: Event) -> None:
        try:
            self._publish(event)
        except Exception:  # who follows a request must not end it, nor keep its response back
            _log.exception("an event could not be published")


def preview_steps(total: int, previews: int) -> list[int]:
    """After which of 1..total steps there is a preview: evenly spaced, and never after the last, the image itself.

    There are as many as `previews`, or fewer where there are not enough steps.
    """
    count = min(previews, total - 1)
    return [total * (index + 1) // (count + 1) for index in range(count)]
