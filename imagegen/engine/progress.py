"""What a stream is told of its request while it is drawn. On the device thread."""

from __future__ import annotations

import logging
from collections.abc import Callable

from imagegen.api.events import Ended, Event, Preview, Progress
from imagegen.pipelines.previews import Projection
from imagegen.pipelines.steps import Step

_log = logging.getLogger(__name__)


class Telling:
    """Tells the progress of one request, and previews of its images at evenly spaced steps.

    Args:
        count: number of images.
        size: (width, height) of an image in pixels.
        previews: how many of each image.
        projection: makes them; None for none.
        tell: takes the events.
    """

    def __init__(
        self,
        count: int,
        size: tuple[int, int],
        previews: int,
        projection: Projection | None,
        tell: Callable[[Event], None],
    ) -> None:
        self._size = size
        self._previews = previews
        self._projection = projection
        self._tell = tell
        self._steps = [0] * count
        self._told = 0

    def stepped(self, image_index: int, step: Step) -> None:
        """An image has come further."""
        self._steps[image_index] = step.number
        progress = Progress(min(self._steps), step.total)
        if progress.step > self._told:
            self._told = progress.step
            self._tell(progress)
        chosen = preview_steps(step.total, self._previews)
        if self._projection is None or step.number not in chosen:
            return
        try:
            pixels = self._projection.pixels(step.latents, self._size)
        except Exception:  # an image is worth more than its previews
            _log.exception("a preview could not be made; there will be no more of this request")
            self._projection = None
        else:
            self._tell(Preview(progress, chosen.index(step.number), image_index, self._size, pixels))

    def ended(self) -> None:
        """Nothing more will come."""
        self._tell(Ended())


def preview_steps(total: int, previews: int) -> list[int]:
    """After which of 1..total steps there is a preview: evenly spaced, and never after the last, the image itself.

    There are as many as `previews`, or fewer where there are not enough steps.
    """
    count = min(previews, total - 1)
    return [total * (index + 1) // (count + 1) for index in range(count)]
