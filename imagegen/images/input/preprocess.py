"""From a request as it came to the pixels and the report that the diffusion model works with.

arrays ── parse_request ── what the model takes ── ImageLoader ── ControlPreprocessors ── pixels, preprocess_report
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from imagegen.api.conditions import check_controls, check_reference_count
from imagegen.api.errors import Asleep, InvalidArgument, Unavailable
from imagegen.api.input_images import NO_IMAGES, InputImages
from imagegen.api.limits import RequestRules
from imagegen.api.loras import LoraChoice
from imagegen.api.reports import PreprocessReport
from imagegen.api.request import ImageRequest, parse_request
from imagegen.api.tasks import check_task, requested_task
from imagegen.api.tensors import Arrays
from imagegen.images.control.preprocessors import ControlPreprocessors
from imagegen.images.input.blobs import ImageBlobs
from imagegen.images.input.load import ImageLoader
from imagegen.images.input.settings import InputSettings
from imagegen.metrics import Family, Series
from imagegen_client import IMAGE_TO_IMAGE, INPAINTING

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

    Attributes:
        control_preprocessors: types of which control images can be made here of plain ones.

    Raises:
        OSError: `input_save_path` cannot be written to.
        ValueError: a model that makes control images cannot be loaded.
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
        self._controls = ControlPreprocessors(settings)
        self.control_preprocessors = self._controls.names()
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
            preprocess_report BYTES [1]; of a request with images also their tensors, see `InputImages.tensors`.

        Raises:
            InvalidArgument: an input breaks its rule, or the model does not do what is asked, or has not the adapter or
                the control.
            ImageRejected: an image cannot be used.
            Unavailable: the server is shutting down, too many requests with URLs are being loaded, or the model sleeps
                and the request has no deadline.
            NonFinite: a control image could not be made.
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
        blobs = ImageBlobs.of(request)
        _check_task_and_conditions(request, blobs, rules)
        types_to_make = _types(request, rules) if request.control_preprocess else ()
        self._controls.check(types_to_make)
        if request.output.user is not None:
            _LOGGER.info("request %r of user %r", request_id, request.output.user)
        images = NO_IMAGES
        warnings: tuple[str, ...] = ()
        input_paths: dict[str, str] = {}
        if blobs.by_field():
            loaded = self._loader.load(blobs, request.size, rules)
            images, warnings, input_paths = loaded.images, loaded.warnings, loaded.paths
        if types_to_make:
            images = self._with_made_controls(images, types_to_make)
        finished_s = time.monotonic()
        report = PreprocessReport(
            started_s=started_s,
            finished_s=finished_s,
            milliseconds={"preprocess": round((finished_s - started_s) * 1000, 2)},
            warnings=warnings,
            input_paths=input_paths,
        )
        return images.tensors() | {"preprocess_report": np.array([report.to_json()], dtype=np.object_)}

    def close(self) -> None:
        """Finish what was begun, and close all connections. No `handle` may start afterwards."""
        self._loader.close()
        self._controls.close()

    def _with_made_controls(self, images: InputImages, types: Sequence[str]) -> InputImages:
        """The images, each control made of the plain image that was given, in the size of the output.

        On the request's own thread: decoders would wait with it for a model that takes seconds, and hold up others.
        """
        assert images.controls is not None, "there is a control image for each type"
        made = [self._controls.make(kind, pixels) for kind, pixels in zip(types, images.controls, strict=True)]
        return replace(images, controls=np.stack(made))


def _check_task_and_conditions(request: ImageRequest, blobs: ImageBlobs, rules: RequestRules) -> None:
    """Refuse what the model does not take, as far as that shows before any image is looked at.

    Raises:
        InvalidArgument: names the field, and what the model takes.
    """
    given = {"has_image": bool(request.images), "has_references": bool(request.references)}
    task = requested_task(has_mask=request.mask is not None, **given)
    if not blobs.mask_is_alpha:  # which is no mask where the image is opaque
        check_task(task, rules.tasks, rules.model)
    takes = rules.conditions
    if takes is None:
        return
    check_reference_count(len(request.references), takes, rules.model)
    if blobs.mask_is_alpha and INPAINTING not in takes.control_tasks:
        task = IMAGE_TO_IMAGE  # the one that may be meant; diffusion, which sees the mask, refuses the other
    check_controls(request.controls, task, takes, rules.model)


def _types(request: ImageRequest, rules: RequestRules) -> tuple[str, ...]:
    """The type that each control of a request means.

    Raises:
        InvalidArgument: it is left out, and nobody has said which the model has.
    """
    known = () if rules.conditions is None else rules.conditions.control_types
    types = tuple(control.type or (known[0] if known else None) for control in request.controls)
    if None in types:
        raise InvalidArgument("control_type", "missing; it says what control_preprocess is to make")
    return tuple(kind for kind in types if kind is not None)
