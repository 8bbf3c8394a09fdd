"""Hostile images by every way that takes one: files, base64, data URLs, addresses."""

from __future__ import annotations

import base64
import json
import random
import struct

from perf.hostile import tensor_bytes, values
from perf.hostile.bad_host import BAD_PATHS
from perf.hostile.case import Case, Expected, GrpcCase, HttpCase, Way
from perf.hostile.http_bytes import EDITS, FORM_TYPE, UNARY, VARIATIONS, file_part, form, post, text_part
from perf.hostile.image_files import doubtful_file, wrong_file
from perf.workload import scene_png


def as_file(dice: random.Random) -> HttpCase:
    """In a form."""
    image, expected = _file(dice)
    parts = [text_part("size", "64x64"), text_part("num_inference_steps", "2"), file_part("image", image)]
    path = dice.choice((EDITS, EDITS, VARIATIONS))
    if path == EDITS:
        parts.append(text_part("prompt", "x"))
        if dice.random() < 0.3:  # as a mask
            parts = [*parts[:2], file_part("image", scene_png()), file_part("mask", image), text_part("prompt", "x")]
    return HttpCase(Way.OPENAI, expected, pieces=(post(path, form(parts), FORM_TYPE),))


def as_data_url(dice: random.Random) -> HttpCase:
    """In OpenAI's JSON form."""
    image, expected = _file(dice)
    return _edit(f"data:image/png;base64,{base64.b64encode(image).decode()}", expected)


def as_text(dice: random.Random) -> Case:
    """Base64 that is none, data URLs that are none: by OpenAI's JSON form and by /generate."""
    whole = base64.b64encode(scene_png()).decode()
    texts = (
        *(
            "data:",
            "data:,x",
            "data:image/png,%89PNG",
            "data:image/png;base64,",
            "data:image/png;base64,!!!!",
            "data:;base64",
        ),
        *("data:text/html;base64,PGI+", f"data:image/png;base64,{whole[:501]}", "data:image/svg+xml;base64,PHN2Zy8+"),
        *("AAAA", "A" * 100_001, whole[:77], "====", "\0" * 50, "é" * 300, f"data:image/png;base64;base64,,{whole}"),
        *("data:image/png;base64," + "%" * 5000, "D" * 3, "data:" + "a" * 50_000, "-_-_" * 10),
    )
    return _either_json(dice, dice.choice(texts), Expected.REFUSED)


def as_tensor(dice: random.Random) -> Case:
    """Raw bytes over gRPC and in KServe's binary form."""
    image, expected = _file(dice)
    name = dice.choice(("image", "image", "mask"))
    tensors = tensor_bytes.cheap() | {"image": tensor_bytes.texts([scene_png()])} | {name: tensor_bytes.texts([image])}
    if dice.random() < 0.5:
        return GrpcCase(Way.GRPC, expected, messages=(tensor_bytes.message(tensors),))
    tensors |= tensor_bytes.AS_TEXT
    return HttpCase(Way.HTTP, expected, pieces=(tensor_bytes.binary_request(f"{UNARY}/infer", tensors),))


def by_address(dice: random.Random, host_url: str) -> Case:
    """Addresses that lead into the server's own network, however they are spelled, and those of other schemes.

    Args:
        dice: chooses.
        host_url: of a host on loopback that must see no connection.
    """
    port = host_url.rpartition(":")[2]
    hosts = (
        *("127.0.0.1", "localhost", "LOCALHOST", "127.1", "0x7f000001", "2130706433", "017700000001", "0", "0.0.0.0"),
        *("[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]", "[::]", "127.0.0.1.", "127。0。0。1"),
        *("user:password@127.0.0.1", "①②⑦.0.0.1", "127.0.0.255", "localhost.", "[::127.0.0.1]", "[64:ff9b::7f00:1]"),
    )
    schemes = (
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "gopher://127.0.0.1:70/_x",
        "dict://127.0.0.1:11211/",
        "jar:http://x!/",
    )
    malformed = (
        *(
            "http://",
            "http:///x",
            "http://\0/",
            "http://[::1",
            "http://127.0.0.1:99999/",
            "http://127.0.0.1:-1/",
            "http:127.0.0.1",
        ),
        *(
            "https://127.0.0.1:0/",
            f"http://127.0.0.1:{port}\\@example.invalid/",
            "http://" + "a" * 300,
            "http://%31%32%37.0.0.1/",
        ),
        *(
            f"http://127.0.0.1:{port}#@example.invalid/",
            "http://a..b/",
            "http://-/",
            "http://127.0.0.1:x/",
            "http://\ud7ff/",
        ),
    )
    kind = dice.random()
    if kind < 0.7:
        address = f"http://{dice.choice(hosts)}:{port}/{dice.choice(('image.png', 'a/b', '?q'))}"
    else:
        address = dice.choice(schemes if kind < 0.8 else malformed)
    return _either_json(dice, address, Expected.REFUSED)


def from_bad_host(dice: random.Random, host_url: str) -> GrpcCase:
    """Addresses of a host that loops, is silent, slow or endless, or sends what is no image.

    Args:
        dice: chooses.
        host_url: of `bad_host`.
    """
    address = f"{host_url}/{dice.choice(sorted(BAD_PATHS))}".encode()
    data = tensor_bytes.message(tensor_bytes.cheap() | {"image": tensor_bytes.texts([address])}, "image_preprocess")
    return GrpcCase(Way.FETCH, Expected.REFUSED, messages=(data,))


def too_many(dice: random.Random) -> Case:
    """More images than are allowed, or another number than `n`."""
    image = base64.b64encode(scene_png()).decode()
    count = dice.choice((17, 64, 65, 300))
    if dice.random() < 0.5:
        fields = {name: json.loads(text) for name, text in values.CHEAP.items()}
        body = json.dumps(fields | {"images": [{"image_url": f"data:image/png;base64,{image}"}] * count}).encode()
        return HttpCase(Way.OPENAI, Expected.REFUSED, pieces=(post(EDITS, body),))
    tensors = tensor_bytes.cheap() | {"image": tensor_bytes.texts([scene_png()] * dice.choice((count, 2)))}
    tensors["n"] = ("INT32", (1,), struct.pack("<i", 3))
    return GrpcCase(Way.GRPC, Expected.REFUSED, messages=(tensor_bytes.message(tensors),))


def too_large(dice: random.Random) -> HttpCase:
    """More bytes than an image may have on the server that is started here, and no image on any."""
    image = scene_png()[:8] + bytes(3_000_000)
    parts = [text_part("prompt", "x"), file_part(dice.choice(("image", "image[]")), image)]
    return HttpCase(Way.OPENAI, Expected.REFUSED, pieces=(post(EDITS, form(parts), FORM_TYPE),))


def _file(dice: random.Random) -> tuple[bytes, Expected]:
    return (wrong_file(dice), Expected.REFUSED) if dice.random() < 0.6 else (doubtful_file(dice), Expected.EITHER)


def _either_json(dice: random.Random, image: str, expected: Expected) -> HttpCase:
    if dice.random() < 0.5:
        return _edit(image, expected)
    fields = {name: json.loads(text) for name, text in values.CHEAP.items()}
    body = json.dumps(fields | {"num_inference_steps": 2, "image": image, "response_format": "b64_json"})
    return HttpCase(Way.HTTP, expected, pieces=(post(f"{UNARY}/generate", body.encode()),))


def _edit(image: str, expected: Expected) -> HttpCase:
    fields = {name: json.loads(text) for name, text in values.CHEAP.items()}
    body = json.dumps(fields | {"num_inference_steps": 2, "images": [{"image_url": image}]})
    return HttpCase(Way.OPENAI, expected, pieces=(post(EDITS, body.encode()),))
