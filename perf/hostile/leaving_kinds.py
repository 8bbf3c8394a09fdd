"""Clients that leave in the middle of valid requests: while they send, while they wait, while they read."""

from __future__ import annotations

import json
import random
import struct

from perf.hostile.case import Case, End, Expected, GrpcCase, HttpCase, Way
from perf.hostile.http_bytes import EDITS, FORM_TYPE, GENERATIONS, STREAM, UNARY, file_part, form, post, text_part
from perf.hostile.tensor_bytes import STREAM_MODEL, UNARY_MODEL, cheap, message
from perf.workload import scene_png

STEPS = 20
"""Enough for a client to leave before the last one."""
_DELAYS_S = (0.0, 0.002, 0.01, 0.03)


def sending(dice: random.Random) -> HttpCase:
    """Leaves at any byte of a request: JSON or a form, by OpenAI's way or Triton's."""
    request = dice.choice((_json(GENERATIONS), _json(f"{UNARY}/generate"), _form()))
    way = Way.HTTP if request.startswith(b"POST /v2") else Way.OPENAI
    return _leaves(way, request[: dice.randrange(len(request))], dice)


def waiting(dice: random.Random) -> HttpCase:
    """Leaves while the image is generated."""
    path = dice.choice((GENERATIONS, GENERATIONS, f"{UNARY}/generate"))
    return _leaves(Way.OPENAI if path == GENERATIONS else Way.HTTP, _json(path), dice)


def streaming(dice: random.Random) -> HttpCase:
    """Leaves in the middle of server-sent events."""
    if dice.random() < 0.5:
        request = _json(GENERATIONS, stream=True, partial_images=2, nvext={"annotations": ["progress"]})
        return _leaves(Way.OPENAI, request, dice)
    return _leaves(Way.HTTP, _json(f"{STREAM}/generate_stream", partial_images=2), dice)


def calls(dice: random.Random) -> Case:
    """Cancels a gRPC call; a stream only well before its end, see `statuses.LEFT_OUT`."""
    tensors = cheap() | {"num_inference_steps": ("INT32", (1,), struct.pack("<i", STEPS))}
    stream = dice.random() < 0.5
    data = message(tensors, STREAM_MODEL if stream else UNARY_MODEL)
    delay_s = dice.choice(_DELAYS_S[:2] if stream else _DELAYS_S)
    return GrpcCase(Way.GRPC, Expected.NOTHING, messages=(data,), stream=stream, end=End.CANCEL, leave_after_s=delay_s)


def _leaves(way: Way, request: bytes, dice: random.Random) -> HttpCase:
    return HttpCase(way, Expected.NOTHING, pieces=(request,), end=End.RESET, leave_after_s=dice.choice(_DELAYS_S))


def _json(path: str, **more: object) -> bytes:
    fields = {"prompt": "x", "size": "64x64", "num_inference_steps": STEPS, "response_format": "b64_json"}
    return post(path, json.dumps(fields | more).encode())


def _form() -> bytes:
    texts = {"prompt": "x", "size": "64x64", "num_inference_steps": str(STEPS)}
    parts = [*(text_part(name, text) for name, text in texts.items()), file_part("image", scene_png())]
    return post(EDITS, form(parts), FORM_TYPE)
