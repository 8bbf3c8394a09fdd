"""The result of a request."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

from imagegen_client.errors import InternalError


class Outputs(Protocol):
    """What the `InferResult` classes of tritonclient share."""

    def as_numpy(self, name: str) -> npt.NDArray[Any] | None:
        """The output of that name, None when the response has none."""


@dataclass(frozen=True)
class GenerateResult:
    """The images of one request.

    Attributes:
        images: n encoded images, ready to be written to files; empty with `response_format="url"`.
        urls: n addresses with `response_format="url"`, else empty.
        seeds: n seeds; one of them, sent with n=1, gives the same image again.
        metadata: what the server reports: model, task, size, steps, guidance, milliseconds per stage, warnings.
        used_control_images: with `return_control` the encoded control images as they were used, in their order; else
            empty, as with `response_format="url"`.
        used_control_urls: their addresses with `return_control` and `response_format="url"`, else empty.
    """

    images: tuple[bytes, ...]
    urls: tuple[str, ...]
    seeds: tuple[int, ...]
    metadata: dict[str, Any]
    used_control_images: tuple[bytes, ...] = ()
    used_control_urls: tuple[str, ...] = ()


def parse_result(outputs: Outputs, response_format: str | None) -> GenerateResult:
    """The outputs of the model as a `GenerateResult`.

    Args:
        outputs: generated_image BYTES [n], used_seed INT64 [n], metadata BYTES [1], and used_control_image BYTES [-1],
            which a server of an earlier release has not.
        response_format: as it was requested.

    Raises:
        InternalError: the response is not what this version of the client understands.
    """
    try:
        images, urls = _images_and_urls(output(outputs, "generated_image"), response_format)
        used = outputs.as_numpy("used_control_image")
        control_images, control_urls = ((), ()) if used is None else _images_and_urls(used, response_format)
        seeds = tuple(int(seed) for seed in output(outputs, "used_seed"))
        metadata = json.loads(bytes(output(outputs, "metadata")[0]))
    except (ValueError, IndexError) as error:
        raise InternalError(f"the server's response cannot be read: {error}") from error
    return GenerateResult(images, urls, seeds, metadata, control_images, control_urls)


def _images_and_urls(
    handed_over: npt.NDArray[Any], response_format: str | None
) -> tuple[tuple[bytes, ...], tuple[str, ...]]:
    """The images of an output BYTES [-1], or their addresses; the other is empty."""
    items = tuple(bytes(item) for item in handed_over)
    if response_format == "url":
        return (), tuple(item.decode() for item in items)
    if response_format == "b64_json":
        return tuple(base64.b64decode(item, validate=True) for item in items), ()
    return items, ()


def output(outputs: Outputs, name: str) -> npt.NDArray[Any]:
    """One output of a response.

    Raises:
        ValueError: it has no such output.
    """
    array = outputs.as_numpy(name)
    if array is None:
        raise ValueError(f"it has no output {name}")
    return array
