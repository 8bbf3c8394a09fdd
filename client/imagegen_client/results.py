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
    """

    images: tuple[bytes, ...]
    urls: tuple[str, ...]
    seeds: tuple[int, ...]
    metadata: dict[str, Any]


def parse_result(outputs: Outputs, response_format: str | None) -> GenerateResult:
    """The outputs of the model as a `GenerateResult`.

    Args:
        outputs: generated_image BYTES [n], used_seed INT64 [n], metadata BYTES [1].
        response_format: as it was requested.

    Raises:
        InternalError: the response is not what this version of the client understands.
    """
    try:
        images = tuple(bytes(item) for item in output(outputs, "generated_image"))
        urls: tuple[str, ...] = ()
        if response_format == "url":
            urls, images = tuple(item.decode() for item in images), ()
        elif response_format == "b64_json":
            images = tuple(base64.b64decode(item, validate=True) for item in images)
        seeds = tuple(int(seed) for seed in output(outputs, "used_seed"))
        metadata = json.loads(bytes(output(outputs, "metadata")[0]))
    except (ValueError, IndexError) as error:
        raise InternalError(f"the server's response cannot be read: {error}") from error
    return GenerateResult(images=images, urls=urls, seeds=seeds, metadata=metadata)


def output(outputs: Outputs, name: str) -> npt.NDArray[Any]:
    """One output of a response.

    Raises:
        ValueError: it has no such output.
    """
    array = outputs.as_numpy(name)
    if array is None:
        raise ValueError(f"it has no output {name}")
    return array
