"""The images in a response, whichever way it came by."""

from __future__ import annotations

import base64
import binascii
import io
import json
import struct
from collections.abc import Sequence
from typing import Any

import tritonclient.grpc.service_pb2 as pb
from PIL import Image

from perf.hostile.case import Response, Way


class NoImages(Exception):
    """A response that says success and has no image."""


def images_of(way: Way, responses: Sequence[Response]) -> tuple[list[bytes], list[int]]:
    """Images and their seeds.

    Args:
        way: that the responses came by.
        responses: of one request; only over a gRPC stream several.

    Raises:
        NoImages: there are none, or an error is among them.
    """
    try:
        if way is Way.GRPC:
            return _of_message(responses[-1].body)
        objects = _objects(responses[-1])
        if way is Way.OPENAI:
            return _of_openai(objects[-1])
        return _of_triton(objects[-1])
    except (ValueError, KeyError, IndexError, TypeError, struct.error) as error:
        raise NoImages(f"{type(error).__name__}: {responses[-1].body[:200]!r}") from error


def check_images(images: Sequence[bytes]) -> None:
    """Raise NoImages unless there are some and each can be decoded."""
    if not images:
        raise NoImages("none")
    for image in images:
        try:
            with Image.open(io.BytesIO(image), formats=["PNG", "JPEG", "WEBP"]) as opened:
                opened.load()
        except Exception as error:  # Pillow raises all kinds of them at damaged files
            raise NoImages(f"an image that cannot be decoded: {type(error).__name__}") from error


def _objects(response: Response) -> list[dict[str, Any]]:
    """The JSON object of a body, or those of its events."""
    if response.content_type.startswith("text/event-stream"):
        lines = response.body.split(b"\n")
        return [_json(line.removeprefix(b"data: ")) for line in lines if line.startswith(b"data: ")]
    return [_json(response.body)]


def _json(data: bytes) -> dict[str, Any]:
    """Latin-1, since Triton puts an image's bytes into JSON as they are where they are asked for so."""
    parsed = json.loads(data.decode("latin-1"), strict=False)
    if not isinstance(parsed, dict) or "error" in parsed:
        raise ValueError
    return parsed


def _of_openai(body: dict[str, Any]) -> tuple[list[bytes], list[int]]:
    data = body.get("data", [body])
    return [_image(one["b64_json"]) for one in data], [one["seed"] for one in data]


def _of_triton(body: dict[str, Any]) -> tuple[list[bytes], list[int]]:
    if "outputs" in body:
        by_name = {output["name"]: output["data"] for output in body["outputs"]}
    else:
        by_name = {name: value if isinstance(value, list) else [value] for name, value in body.items()}
    return [_image(text) for text in by_name["generated_image"]], by_name["used_seed"]


def _of_message(data: bytes) -> tuple[list[bytes], list[int]]:
    response = pb.ModelInferResponse.FromString(data)
    by_name = dict(zip((output.name for output in response.outputs), response.raw_output_contents, strict=True))
    seeds = by_name["used_seed"]
    return [_image(item) for item in _bytes_items(by_name["generated_image"])], [
        *struct.unpack(f"<{len(seeds) // 8}q", seeds)
    ]


def _bytes_items(data: bytes) -> list[bytes]:
    items, at = [], 0
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        items.append(data[at + 4 : at + 4 + length])
        at += 4 + length
    return items


def _image(content: str | bytes) -> bytes:
    """A file, from base64 or as it is."""
    raw = content.encode("latin-1") if isinstance(content, str) else content
    try:
        return base64.b64decode(raw, validate=True)
    except binascii.Error:
        return raw
