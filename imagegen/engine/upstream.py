"""What the models before this one say of a request, in tensors that no client sends."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from imagegen.api.errors import InvalidArgument
from imagegen.api.request import parse_partial_images
from imagegen.triton.side_channel import is_stream_id


@dataclass(frozen=True)
class Preprocessed:
    """What `image_preprocess` reports of a request.

    Attributes:
        arrived_s: when the request came to this model, on the clock of `time.monotonic`.
        entered_s: when it came to the server, on that clock.
        milliseconds: by stage so far.
        metadata: what it adds to the request's metadata: input_paths, where input images are kept.
        warnings: for the client.
    """

    arrived_s: float
    entered_s: float
    milliseconds: dict[str, float] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Audience:
    """Who follows a request while it is drawn.

    Attributes:
        stream_id: where it is told of; empty for nobody.
        previews: how many of each image.
    """

    stream_id: str = ""
    previews: int = 0


def read_preprocess_report(tensor: npt.NDArray[Any] | None) -> Preprocessed:
    """What the model before this one reports.

    Without a report the request came now: whoever calls this model directly cannot tell how long Triton's queue took.

    Raises:
        InvalidArgument: the tensor is no report.
    """
    now_s = time.monotonic()
    if tensor is None:
        return Preprocessed(now_s, now_s)
    try:
        report = json.loads(tensor[0])
        return Preprocessed(
            arrived_s=min(now_s, float(report["finished_s"])),
            entered_s=min(now_s, float(report["started_s"])),
            milliseconds={str(k): float(v) for k, v in report["milliseconds"].items()},
            metadata={"input_paths": report["input_paths"]} if "input_paths" in report else {},
            warnings=tuple(map(str, report.get("warnings", ()))),
        )
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):
        raise InvalidArgument("preprocess_report", "not what image_preprocess writes; leave it out") from None


def read_audience(stream_id: npt.NDArray[Any] | None, partial_images: npt.NDArray[Any] | None) -> Audience:
    """What `image_generation_stream` says of itself.

    Raises:
        InvalidArgument: `stream_id` is none, or `partial_images` out of range.
    """
    if stream_id is None:
        return Audience()
    text = bytes(stream_id.flat[0]).decode(errors="replace") if stream_id.size else ""
    if not is_stream_id(text):
        raise InvalidArgument("stream_id", "not what image_generation_stream writes; leave it out")
    return Audience(text, parse_partial_images({} if partial_images is None else {"partial_images": partial_images}))
