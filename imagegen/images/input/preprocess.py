"""From a request as it came to the pixels and the report that the diffusion model works with.

arrays ── parse_request ── ImageLoader ── pixels, mask_pixels, preprocess_report
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import numpy as np

from imagegen.api.errors import Asleep, Unavailable
from imagegen.api.limits import RequestRules
from imagegen.api.loras import LoraChoice
from imagegen.api.reports import PreprocessReport
from imagegen.api.request import parse_request
from imagegen.api.tasks import check_task, requested_task
from imagegen.api.tensors import MASK_FROM_ALPHA, Arrays
from imagegen.images.input.load import ImageLoader
from imagegen.images.input.settings import InputSettings
from imagegen.metrics import Family, Series

_LOGGER = logging.getLogger(__name__)


class Preprocessor:
    """Checks the whole request and turns its images into pixels. Safe from any thread.

    Args:
        settings: the model's configuration.
        new_series: makes a series of the metrics backend.
        rules: what the models behind this one allow at the moment.
        is_draining: whether the server takes no new requests at the moment.
        is_asleep: whether an administrator has put the model behind to sleep.
        check_loras: raises InvalidArgument for adapters that are not on offer at the moment; unless given, all are.

    Raises:
        OSError: `input_save_path` cannot be written to.
    """

    def __init__(
        self,
        settings: InputSettings,
        new_series: Callable[[Family, dict[str, str]], Series],
        rules: Callable[[], RequestRules],
        is_draining: Callable[[], bool],
        is_asleep: Callable[[], bool] = lambda: False,
        check_loras: Callable[[Sequence[LoraChoice]], None] = lambda _: None,
    ) -> None:
        self._loader = ImageLoader(settings, new_series)
        self._rules = rules
        self._is_draining = is_draining
        self._is_asleep = is_asleep
        self._check_loras = check_loras

    def handle(self, arrays: Arrays, request_id: str) -> Arrays:
        """Handle one request.

        Args:
            arrays: the public inputs that are present.
            request_id: as the client sent it; may be empty.

        Returns:
            preprocess_report BYTES [1]; of a request with images also pixels uint8 RGB [N, H, W, 3], and with a mask
            mask_pixels uint8 [1, H, W], 255 = repaint.

        Raises:
            InvalidArgument: an input breaks its rule, or the model does not do what is asked, or has not the adapter.
            ImageRejected: an image cannot be used.
            Unavailable: the server is shutting down, too many requests with URLs are being loaded, or the model sleeps
                and the request has no deadline.
        """
        started_s = time.monotonic()
        if self._is_draining():
            raise Unavailable("the server is shutting down")
        rules = self._rules()
        request = parse_request(arrays, rules.limits, granularity_px=rules.granularity_px, has_store=rules.has_store)
        if request.loras:
            self._check_loras(request.loras)
        if request.timeout_ms is None and self._is_asleep():
            raise Asleep
        if request.mask != MASK_FROM_ALPHA.encode():  # which is none where the image is opaque
            task = requested_task(has_image=bool(request.images), has_mask=request.mask is not None)
            check_task(task, rules.tasks, rules.model)
        if request.output.user is not None:
            _LOGGER.info("request %r of user %r", request_id, request.output.user)
        outputs: Arrays = {}
        warnings: tuple[str, ...] = ()
        input_paths: dict[str, str] = {}
        if request.images:
            loaded = self._loader.load(request.images, request.mask, request.size, rules)
            outputs["pixels"] = loaded.pixels
            if loaded.mask is not None:
                outputs["mask_pixels"] = loaded.mask
            warnings, input_paths = loaded.warnings, loaded.paths
        finished_s = time.monotonic()
        report = PreprocessReport(
            started_s=started_s,
            finished_s=finished_s,
            milliseconds={"preprocess": round((finished_s - started_s) * 1000, 2)},
            warnings=warnings,
            input_paths=input_paths,
        )
        outputs["preprocess_report"] = np.array([report.to_json()], dtype=np.object_)
        return outputs

    def close(self) -> None:
        """Finish what was begun, and close all connections. No `handle` may start afterwards."""
        self._loader.close()
