"""Valid requests in between, by every way: whatever else comes meanwhile, these get the right images."""

from __future__ import annotations

import base64
import json
import random
import struct
from typing import Any

from perf.hostile.case import Case, Expected, GrpcCase, HttpCase, Way
from perf.hostile.http_bytes import EDITS, FORM_TYPE, GENERATIONS, STREAM, UNARY, file_part, form, post, text_part
from perf.hostile.tensor_bytes import AS_TEXT, STREAM_MODEL, Tensor, binary_request, message, texts
from perf.workload import IMAGE_TO_IMAGE, INPAINTING, TEXT_TO_IMAGE, Request

STEPS = 4
_PROMPTS = ("a yellow star at night", "a green circle")
_FIELDS = {"response_format": "b64_json"}


def by_openai(dice: random.Random) -> Case:
    """JSON, a stream, or a form."""
    request = _request(dice)
    if request.task != TEXT_TO_IMAGE:
        parts = [
            file_part(name, value) if isinstance(value, bytes) else text_part(name, str(value))
            for name, value in request.values().items()
        ]
        return _served(Way.OPENAI, request, post(EDITS, form(parts), FORM_TYPE))
    stream = {"stream": True, "partial_images": 2} if request.n == 1 and dice.random() < 0.4 else {}
    return _served(Way.OPENAI, request, post(GENERATIONS, json.dumps(request.values() | stream).encode()))


def by_generate(dice: random.Random) -> Case:
    """/generate and /generate_stream, of both models."""
    request = _request(dice)
    fields: dict[str, Any] = {
        name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
        for name, value in request.values().items()
    }
    path = dice.choice((f"{UNARY}/generate", f"{UNARY}/generate_stream", f"{STREAM}/generate_stream"))
    return _served(Way.HTTP, request, post(path, json.dumps(fields | _FIELDS).encode()))


def by_infer(dice: random.Random) -> Case:
    """KServe's binary form."""
    request = _request(dice)
    outputs = [{"name": name, "parameters": {"binary_data": False}} for name in ("generated_image", "used_seed")]
    tensors = _tensors(request) | AS_TEXT
    return _served(Way.HTTP, request, binary_request(f"{UNARY}/infer", tensors, outputs=outputs))


def by_grpc(dice: random.Random) -> Case:
    """A call of either model."""
    request = _request(dice)
    stream = dice.random() < 0.5
    data = message(_tensors(request), *((STREAM_MODEL,) if stream else ()))
    return GrpcCase(Way.GRPC, Expected.SERVED, request=request, messages=(data,), stream=stream)


def _request(dice: random.Random) -> Request:
    """One of few, so that each comes again and can be compared with its first images."""
    return Request(
        task=dice.choice((TEXT_TO_IMAGE, TEXT_TO_IMAGE, IMAGE_TO_IMAGE, INPAINTING)),
        size=(64, 64),
        num_inference_steps=STEPS,
        n=dice.choice((1, 1, 1, 2)),
        seed=dice.randrange(2),
        prompt=dice.choice(_PROMPTS),
    )


def _tensors(request: Request) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, value in request.values().items():
        if isinstance(value, int):
            wide = name == "seed"
            tensors[name] = ("INT64" if wide else "INT32", (1,), struct.pack("<q" if wide else "<i", value))
        else:
            tensors[name] = texts([value if isinstance(value, bytes) else value.encode()])
    return tensors


def _served(way: Way, request: Request, data: bytes) -> HttpCase:
    return HttpCase(way, Expected.SERVED, request=request, pieces=(data,))
