"""OpenAI's shapes for what Triton answers."""

from __future__ import annotations

import time
from typing import Any

import orjson

from imagegen.openai.fields import Call
from imagegen.openai.triton_call import Completed, Preview, Progress
from imagegen.openai.usage import usage


def images_response(call: Call, done: Completed, text_tokens: int | None) -> dict[str, Any]:
    """The answer of a request without stream.

    Beyond OpenAI's: `seed` of each image, and `metadata` as the server reports it.
    """
    data = [_image(call, image) | {"seed": seed} for image, seed in zip(done.images, done.seeds, strict=True)]
    return {"created": int(time.time()), "data": data, **_about(call, done, text_tokens), "metadata": done.metadata}


def completed_event(call: Call, done: Completed, text_tokens: int | None) -> tuple[str, dict[str, Any]]:
    """The last event of a stream, which carries its one image."""
    name = f"{call.kind}.completed"
    return name, {
        "type": name,
        "created_at": int(time.time()),
        **_image(call, done.images[0]),
        **_about(call, done, text_tokens),
        "seed": done.seeds[0],
        "metadata": done.metadata,
    }


def partial_image_event(call: Call, preview: Preview) -> tuple[str, dict[str, Any]]:
    """A preview."""
    name = f"{call.kind}.partial_image"
    return name, {
        "type": name,
        "created_at": int(time.time()),
        "b64_json": _text(preview.image),
        "partial_image_index": preview.index,
        "size": call.values.get("size") or "auto",
        "quality": call.quality,
        "background": call.background,
        "output_format": call.values.get("output_format") or "png",
    }


def progress_event(call: Call, progress: Progress) -> tuple[str, dict[str, Any]]:
    """A denoising step; not among OpenAI's events, so it comes only when asked for."""
    name = f"{call.kind}.progress"
    return name, {"type": name, "step": progress.step, "total_steps": progress.total_steps}


def _image(call: Call, image: bytes) -> dict[str, Any]:
    if call.values["response_format"] == "url":
        return {"url": image.decode()}
    return {"b64_json": _text(image)}


def _about(call: Call, done: Completed, text_tokens: int | None) -> dict[str, Any]:
    size = done.metadata["size"]
    about: dict[str, Any] = {
        "size": size,
        "quality": call.quality,
        "background": call.background,
        "output_format": done.metadata["output_format"],
    }
    if text_tokens is not None:
        about["usage"] = usage(text_tokens, len(call.values.get("image") or ()), len(done.images), size)
    return about


def _text(base64_text: bytes) -> orjson.Fragment:
    """Base64 as a JSON string, without a look at each of a megabyte of characters: none needs an escape."""
    return orjson.Fragment(b'"' + base64_text + b'"')
