"""One request while it is generated: a pipeline run for each of its images, and one outcome for all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from imagegen.api.errors import Cancelled
from imagegen.engine.cancellation import CancelToken
from imagegen.engine.pipeline_run import PipelineRun


@dataclass(eq=False)
class GenerationJob:
    """The images of one request.

    An image that fails or a cancel ends all of them. `finished` is called exactly once, on the executor's
    thread, after the last image has left the executor.

    Attributes:
        generate: makes image i and returns it; runs on the executor's thread.
        count: number of images.
        finished: takes the images in order, or None and the error.
        token: cancels the job before its next forward.
        expected_calls: denoiser calls of each image, as well as is known.
    """

    generate: Callable[[int], Any]
    count: int
    finished: Callable[[list[Any] | None, BaseException | None], None]
    token: CancelToken = field(default_factory=CancelToken)
    expected_calls: int = 1
    _images: dict[int, Any] = field(default_factory=dict, init=False, repr=False)
    _ended: int = field(default=0, init=False)
    _error: BaseException | None = field(default=None, init=False)

    def runs(self) -> list[PipelineRun]:
        """The work for the executor; submit all of it."""
        return [
            PipelineRun(partial(self.generate, index), partial(self._run_ended, index), self._stop, self.expected_calls)
            for index in range(self.count)
        ]

    def _stop(self) -> Exception | None:
        return Cancelled("another image of the request failed") if self._error is not None else self.token.error

    def _run_ended(self, index: int, image: Any, error: BaseException | None) -> None:
        self._ended += 1
        if error is not None:
            self._error = self._error or error
        else:
            self._images[index] = image
        if self._ended < self.count:
            return
        # Not kept, for whoever still holds the job: images are large, and an error's traceback leads to tensors.
        images, self._images = self._images, {}
        first_error, self._error = self._error, None
        if first_error is not None:
            self.finished(None, first_error)
        else:
            self.finished([images[i] for i in range(self.count)], None)
