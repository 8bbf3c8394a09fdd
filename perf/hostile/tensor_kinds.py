"""Tensors of wrong types, shapes, sizes and values, over KServe's HTTP and gRPC protocols."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable
from typing import Any

from perf.hostile.bytes_mutation import mutated
from perf.hostile.case import Case, Expected, GrpcCase, HttpCase, Way
from perf.hostile.http_bytes import CANCEL, UNARY
from perf.hostile.tensor_bytes import (
    AS_TEXT,
    CANCEL_MODEL,
    STREAM_MODEL,
    UNARY_MODEL,
    Tensor,
    binary_request,
    cheap,
    message,
    texts,
)

_INT32, _INT64, _FP32 = "INT32", "INT64", "FP32"


def _int32(value: int) -> Tensor:
    return _INT32, (1,), struct.pack("<i", value)


def _int64s(*items: int) -> Tensor:
    return _INT64, (len(items),), struct.pack(f"<{len(items)}q", *items)


def _fp32(value: float) -> Tensor:
    return _FP32, (1,), struct.pack("<f", value)


_WRONG_TENSORS: tuple[tuple[str, Tensor], ...] = (
    *(("n", _int32(value)) for value in (0, -1, 11, 2**31 - 1, -(2**31))),
    *(("num_inference_steps", _int32(value)) for value in (0, -1, 1001, 2**31 - 1)),
    *(("guidance_scale", _fp32(value)) for value in (math.nan, math.inf, -math.inf, -1.0, 1e30)),
    *(("strength", _fp32(value)) for value in (math.nan, 0.0, 1.5, -0.5, 0.5)),
    *(("timeout_ms", _int32(value)) for value in (0, -5, 2**31 - 1)),
    *(("output_compression", _int32(value)) for value in (-1, 101)),
    *(("seed", _int64s(*items)) for items in ((), (-1,), (-(2**63),), (1, 2), (1, 2, 3))),
    *(
        ("size", texts([text]))
        for text in (b"", b"0x0", b"65x64", b"64", b"\xff\xfe", b"9" * 50 + b"x64", b"-8x8", b"8x8\0")
    ),
    *(("prompt", texts([text])) for text in (b"", b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\xaf", b"x" * 32_001)),
    *(("output_format", texts([text])) for text in (b"", b"gif", b"\0", b"../png", b"\xff")),
    *(("response_format", texts([text])) for text in (b"", b"url", b"fax", b"\xff")),
    *(("scheduler", texts([text])) for text in (b"", b"magic", b"\xff", b"__class__")),
    *(("step_cache", texts([text])) for text in (b"", b"magic", b"\xff", b"FAST")),
    *(("user", texts([text])) for text in (b"", b"u" * 257, b"\xff")),
    *(("image", texts(items)) for items in ([], [b""], [b"x"], [b"x"] * 17)),
    ("mask", texts([b"x"])),
    # Types and shapes that the model's configuration does not have.
    *(
        ("n", (kind, (1,), b"\1\0\0\0\0\0\0\0"[:size]))
        for kind, size in (("INT64", 8), ("FP32", 4), ("BOOL", 1), ("UINT8", 1))
    ),
    *(("n", (kind, (1,), b"\1\0\0\0")) for kind in ("", "int32", "TYPE_INT32", "NO_SUCH", "STRING", "BF16")),
    *(("n", (_INT32, shape, b"\1\0\0\0")) for shape in ((), (0,), (2,), (1, 1), (2**31,), (2**40, 2**20), (2**62,))),
    *(("n", (_INT32, (1,), content)) for content in (b"", b"\1", b"\1\0\0", b"\1\0\0\0\0", bytes(8), bytes(100_000))),
    *(("seed", (_INT64, shape, b"\1" * 8)) for shape in ((2**61,), (2**62,), (2**40, 2**40), (3,), (1, 1))),
    *(
        ("prompt", ("BYTES", (1,), raw))
        for raw in (b"", b"\1", b"\5\0\0\0ab", b"\xff\xff\xff\xffx", b"\1\0\0\0x\1\0\0\0y", b"\0\0\0\0z")
    ),
    *(("image", ("BYTES", shape, b"\1\0\0\0x")) for shape in ((0,), (2,), (2**40,), (1, 1))),
    ("no_such_input", _int32(1)),
    ("frames", _int32(1)),
    ("", texts([b"x"])),
)
"""Each is refused: by our rules, or by Triton, whose rules are those of the model's configuration."""


def wrong_tensor(dice: random.Random) -> Case:
    """One tensor of a valid request is wrong, by each protocol."""
    name, tensor = dice.choice(_WRONG_TENSORS)
    tensors = cheap() | {name: tensor}
    match dice.randrange(4):
        case 0:
            return HttpCase(Way.HTTP, Expected.REFUSED, pieces=(binary_request(f"{UNARY}/infer", tensors),))
        case 1:
            return GrpcCase(Way.GRPC, Expected.REFUSED, messages=(message(tensors, STREAM_MODEL),), stream=True)
        case _:
            return GrpcCase(Way.GRPC, Expected.REFUSED, messages=(message(tensors),), stream=dice.random() < 0.3)


def negative_shape(dice: random.Random) -> GrpcCase:
    """Only gRPC can say it: there a dimension has a sign."""
    shape = dice.choice(((-1,), (-5,), (-(2**63),), (1, -1), (-1, -1)))
    name = dice.choice(("n", "seed", "prompt", "image"))
    tensors = cheap() | {
        name: (_INT64 if name == "seed" else _INT32 if name == "n" else "BYTES", shape, b"\1\0\0\0x\0\0\0")
    }
    return GrpcCase(Way.GRPC, Expected.REFUSED, messages=(message(tensors),))


def wrong_set(dice: random.Random) -> GrpcCase:
    """No prompt, a tensor twice, contents that are missing, given in two forms, or of another type."""
    return GrpcCase(Way.GRPC, Expected.REFUSED, messages=(_message_of_wrong_set(dice),), stream=dice.random() < 0.3)


def _message_of_wrong_set(dice: random.Random) -> bytes:
    match dice.randrange(5):
        case 0:
            return message({name: tensor for name, tensor in cheap().items() if name != "prompt"})
        case 1:
            return message([*cheap().items(), dice.choice(list(cheap().items()))])
        case 2:
            return message(cheap(), edit=lambda request: request.raw_input_contents.pop())
        case 3:
            return message(cheap(), edit=lambda request: request.inputs[0].contents.bytes_contents.append(b"x"))
        case _:
            return message({}, dice.choice((UNARY_MODEL, STREAM_MODEL, CANCEL_MODEL)))


def parameters(dice: random.Random) -> Case:
    """Parameters that are Triton's own with values that it cannot take, and those that nobody knows."""
    key, kind, value = dice.choice(
        (
            *(
                ("priority", "int64_param", -1),
                ("priority", "string_param", "x"),
                ("sequence_start", "string_param", "x"),
            ),
            *(("timeout", "string_param", "1"), ("triton_x", "int64_param", 1), ("no_such", "int64_param", 1)),
            *(("no_such", "string_param", "x" * 50_000), ("no_such", "bool_param", True), ("", "int64_param", 1)),
            *(("headers", "string_param", "x"), ("triton_enable_empty_final_response", "string_param", "x")),
        )
    )
    edit = _set_parameter(key, kind, value)
    return GrpcCase(Way.GRPC, Expected.REFUSED, messages=(message(cheap(), edit=edit),))


def _set_parameter(key: str, kind: str, value: Any) -> Callable[[Any], None]:
    def edit(request: Any) -> None:
        setattr(request.parameters[key], kind, value)

    return edit


def names(dice: random.Random) -> Case:
    """Models, versions, outputs and regions of shared memory that there are not; methods too."""

    def edit(request: Any) -> None:
        match chosen:
            case 0:
                request.model_name = dice.choice(("", "no_such", "../x", "m" * 2000, "é"))
            case 1:
                request.model_version = dice.choice(("7", "0", "-1", "abc", "9" * 30, " "))
            case 2:
                request.outputs.add(name=dice.choice(("", "frames", "no_such", "o" * 2000)))
            case 3:
                request.inputs[0].parameters["shared_memory_region"].string_param = "region"
                request.inputs[0].parameters["shared_memory_byte_size"].int64_param = dice.choice((8, -8, 2**62))
            case _:
                request.outputs.add(name="used_seed").parameters["shared_memory_region"].string_param = "region"

    chosen = dice.randrange(6)
    if chosen == 5:
        method = dice.choice(("NoSuchMethod", "ModelInfer2", "../ModelInfer"))
        return GrpcCase(Way.GRPC, Expected.REFUSED, messages=(b"",), method=method)
    return GrpcCase(Way.GRPC, Expected.REFUSED, messages=(message(cheap(), edit=edit),), stream=dice.random() < 0.3)


def binary_form(dice: random.Random) -> HttpCase:
    """Lengths in KServe's binary form that are wrong, negative, huge, or no numbers."""
    path, tensors = f"{UNARY}/infer", cheap()
    match dice.randrange(3):
        case 0:
            length = dice.choice(("-1", "5", str(10**9), str(2**70), "abc", "0", "1e2", "0x10"))
            request = binary_request(path, tensors, header_length=length)
        case 1:
            size = dice.choice((-1, 1, 1000, 2**31, 2**62, "5", None, 1.5, [5]))
            request = binary_request(path, tensors, sizes={dice.choice(list(tensors)): size})
        case _:
            wrong: dict[str, Any] = dice.choice(
                (
                    {"outputs": 5},
                    {"outputs": [5]},
                    {"outputs": [{}]},
                    {"outputs": [{"name": "no_such"}]},
                    {"outputs": [{"name": "used_seed", "parameters": {"classification": -1}}]},
                    {"id": 5},
                    {"parameters": 5},
                    {"parameters": {"timeout": -1}},
                    {"parameters": {"priority": "x"}},
                    {"parameters": {"triton_x": 1}},
                    {"parameters": {"no_such": {"a": 1}}},
                    {"parameters": {"no_such": 1}},
                    {"parameters": {"binary_data_output": 5}},
                )
            )
            request = binary_request(path, tensors, **wrong)
    return HttpCase(Way.HTTP, Expected.REFUSED, pieces=(request,))


def binary_damaged(dice: random.Random) -> HttpCase:
    """The binary form, damaged by chance behind the request's head."""
    head, _, body = binary_request(f"{UNARY}/infer", cheap() | AS_TEXT).partition(b"\r\n\r\n")
    damaged = mutated(dice, body)
    length = f"Content-Length: {len(damaged)}".encode()
    head = b"\r\n".join(length if line.startswith(b"Content-Length") else line for line in head.split(b"\r\n"))
    return HttpCase(Way.HTTP, Expected.EITHER, pieces=(head + b"\r\n\r\n" + damaged,))


def message_damaged(dice: random.Random) -> GrpcCase:
    """A message of gRPC, damaged by chance, or random bytes."""
    data = dice.randbytes(dice.randrange(500)) if dice.random() < 0.1 else mutated(dice, message(cheap()), 3)
    return GrpcCase(Way.GRPC, Expected.EITHER, messages=(data,))


def cancels(dice: random.Random) -> Case:
    """The cancel model with ids that it cannot take."""
    wrong: tuple[Tensor, ...] = (
        *(texts([text]) for text in (b"", b"\xff", b"a" * 1025, b"\xed\xa0\x80")),
        *(
            (texts([b"a", b"b"])),
            texts([]),
            _int32(1),
            ("BYTES", (1,), b"\xff\xff\xff\xff"),
            ("BYTES", (1, 1), b"\1\0\0\0a"),
        ),
    )
    tensors = {"request_id": dice.choice(wrong)}
    if dice.random() < 0.5:
        return HttpCase(Way.HTTP, Expected.REFUSED, pieces=(binary_request(f"{CANCEL}/infer", tensors),))
    return GrpcCase(Way.GRPC, Expected.REFUSED, messages=(message(tensors, CANCEL_MODEL),))
