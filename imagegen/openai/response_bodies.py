"""OpenAI's shapes of what Triton sends: the JSON object of a response, and the events of a stream."""

from __future__ import annotations

import time
from typing import Any

import orjson

from imagegen.openai.images_request import ImagesRequest
from imagegen.openai.triton_images import Completed, Preview, Progress
from imagegen.openai.usage import usage

_INPUTS = ("image", "reference_image", "control_image")


def images_body(request: ImagesRequest, done: Completed, text_tokens: int | None) -> dict[str, Any]:
    """The response to a request without stream.

    Beyond OpenAI's fields: `seed` of each image, `metadata` as the server reports it, and `used_control_images` where
    they were asked for.
    """
    data = [_image(request, image) | {"seed": seed} for image, seed in zip(done.images, done.seeds, strict=True)]
    return {"created": int(time.time()), "data": data, **_about(request, done, text_tokens)}


def completed_event(request: ImagesRequest, done: Completed, text_tokens: int | None) -> tuple[str, dict[str, Any]]:
    """The last event of a stream, which carries its one image."""
    name = f"{request.kind}.completed"
    return name, {
        "type": name,
        "created_at": int(time.time()),
        **_image(request, done.images[0]),
        **_about(request, done, text_tokens),
        "seed": done.seeds[0],
    }


def partial_image_event(request: ImagesRequest, preview: Preview) -> tuple[str, dict[str, Any]]:
    """The event of a preview."""
    name = f"{request.kind}.partial_image"
    return name, {
        "type": name,
        "created_at": int(time.time()),
        "b64_json": _text(preview.image),
        "partial_image_index": preview.index,
        "size": request.values.get("size") or "auto",
        "quality": request.quality,
        "background": request.background,
        "output_format": request.values.get("output_format") or "png",
    }


def progress_event(request: ImagesRequest, progress: Progress) -> tuple[str, dict[str, Any]]:
    """The event of a denoising step; not among OpenAI's events, so it comes only when asked for."""
    name = f"{request.kind}.progress"
    return name, {"type": name, "step": progress.step, "total_steps": progress.total_steps}


def _image(request: ImagesRequest, image: bytes) -> dict[str, Any]:
    if request.values["response_format"] == "url":
        return {"url": image.decode()}
    return {"b64_json": _text(image)}


def _about(request: ImagesRequest, done: Completed, text_tokens: int | None) -> dict[str, Any]:
    size = done.metadata["size"]
    about: dict[str, Any] = {
        "size": size,
        "quality": request.quality,
        "background": request.background,
        "output_format": done.metadata["output_format"],
        "metadata": _metadata(request, done),
    }
    if request.values.get("return_control"):
        about["used_control_images"] = [_image(request, image) for image in done.control_images]
    if text_tokens is not None:
        inputs = sum(len(request.values.get(name) or ()) for name in _INPUTS)
        about["usage"] = usage(text_tokens, inputs, len(done.images), size)
    return about


def _metadata(request: ImagesRequest, done: Completed) -> dict[str, Any]:
    """The server's report, with the warnings of the frontend behind its own."""
    if not request.warnings:
        return done.metadata
    return done.metadata | {"warnings": [*done.metadata.get("warnings", ()), *request.warnings]}


def _text(base64_text: bytes) -> orjson.Fragment:
    """Base64 as a JSON string, without a look at each of a megabyte of characters: none needs an escape."""
    return orjson.Fragment(b'"' + base64_text + b'"')
