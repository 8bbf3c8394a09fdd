"""Bad input of every kind: the right status, OpenAI's error with the field's name, and the server goes on."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.service.conftest import OpenAIServer
from tests.service.http_pieces import BOUNDARY, connect, form, form_request, head, json_request, read_response, reset

GENERATIONS, EDITS, VARIATIONS = (f"/v1/images/{name}" for name in ("generations", "edits", "variations"))
ADDRESSES: dict[str, Any] = {"prompt": "x", "images": [{"image_url": "https://127.0.0.1:1/a.png"}]}


def exchange(server: OpenAIServer, request: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Send a request; status, headers and the error object."""
    with connect(server.url) as connection:
        connection.sendall(request)
        status, headers, body = read_response(connection)
    assert headers["content-type"] == "application/json"
    assert re.fullmatch(r"[0-9a-f]{32}", headers["x-request-id"])
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return status, headers, error


FIELDS: dict[str, tuple[dict[str, Any], int, str | None]] = {
    "prompt missing": ({"prompt": None}, 400, "prompt"),
    "prompt empty": ({"prompt": ""}, 400, "prompt"),
    "prompt too long": ({"prompt": "x" * 32001}, 400, "prompt"),
    "prompt no text": ({"prompt": 7}, 400, "prompt"),
    "n 0": ({"n": 0}, 400, "n"),
    "n 11": ({"n": 11}, 400, "n"),
    "n beyond INT32": ({"n": 2**40}, 400, "n"),
    "n beyond INT64": ({"n": 2**70}, 400, "n"),
    "n a text": ({"n": "2"}, 400, "n"),
    "n true": ({"n": True}, 400, "n"),
    "n a fraction": ({"n": 1.5}, 400, "n"),
    "size no size": ({"size": "big"}, 400, "size"),
    "size off the grid": ({"size": "100x100"}, 400, "size"),
    "size huge": ({"size": "100000x10000"}, 400, "size"),
    "quality unknown": ({"quality": "best"}, 400, "quality"),
    "background transparent": ({"background": "transparent"}, 400, "background"),
    "moderation unknown": ({"moderation": "none"}, 400, "moderation"),
    "style unknown": ({"style": "plain"}, 400, "style"),
    "input_fidelity": ({"input_fidelity": "low"}, 400, "input_fidelity"),
    "output_format gif": ({"output_format": "gif"}, 400, "output_format"),
    "output_compression 101": ({"output_compression": 101}, 400, "output_compression"),
    "response_format bytes": ({"response_format": "bytes"}, 400, "response_format"),
    "user too long": ({"user": "u" * 257}, 400, "user"),
    "model unknown": ({"model": "dall-e-3"}, 404, "model"),
    "field unknown": ({"colour": "red"}, 400, "colour"),
    "field of nvext unknown": ({"nvext": {"colour": "red"}}, 400, "nvext.colour"),
    "annotation unknown": ({"nvext": {"annotations": ["magic"]}}, 400, "nvext.annotations"),
    "seed twice": ({"seed": 1, "nvext": {"seed": 1}}, 400, "nvext.seed"),
    "seed negative": ({"seed": -1}, 400, "seed"),
    "steps above the cap": ({"num_inference_steps": 101}, 400, "num_inference_steps"),
    "guidance negative": ({"guidance_scale": -1}, 400, "guidance_scale"),
    "strength without image": ({"strength": 0.5}, 400, "strength"),
    "scheduler unknown": ({"scheduler": "magic"}, 400, "scheduler"),
    "deadline": ({"timeout_ms": 1, "num_inference_steps": 100, "size": "512x512"}, 408, "timeout_ms"),
    "stream of two": ({"stream": True, "n": 2}, 400, "n"),
    "partial images 4": ({"stream": True, "partial_images": 4}, 400, "partial_images"),
    "partial images -1": ({"stream": True, "partial_images": -1}, 400, "partial_images"),
    "partial images without stream": ({"partial_images": 1}, 400, "partial_images"),
}


@pytest.mark.parametrize("case", FIELDS)
def test_a_bad_field_is_named(openai_server: OpenAIServer, case: str) -> None:
    values, expected, param = FIELDS[case]
    fields = {name: value for name, value in ({"prompt": "x"} | values).items() if value is not None}
    status, _, error = exchange(openai_server, json_request(GENERATIONS, fields))
    assert (status, error["param"]) == (expected, param), error
    assert param is None or param in error["message"]


def test_null_is_absent_and_neutral_values_pass(openai_server: OpenAIServer) -> None:
    fields = {
        "prompt": "x",
        "num_inference_steps": 1,
        "background": "opaque",
        "moderation": "low",
        "style": "natural",
        "output_format": "jpg",
        "partial_images": 0,
        **dict.fromkeys(("n", "size", "quality", "stream", "user", "nvext", "seed", "output_compression", "model")),
    }
    with connect(openai_server.url) as connection:
        connection.sendall(json_request(GENERATIONS, fields))
        status, _, body = read_response(connection)
    assert status == 200
    metadata = json.loads(body)["metadata"]
    assert metadata["output_format"] == "jpeg"
    assert [warning.partition(":")[0] for warning in metadata["warnings"]] == ["moderation", "style"]


BODIES: dict[str, tuple[str | None, bytes, int, str | None]] = {
    "no JSON": ("application/json", b"{", 400, None),
    "empty": ("application/json", b"", 400, None),
    "no object": ("application/json", b"[1]", 400, None),
    "not UTF-8": ("application/json", b'{"prompt": "\xff"}', 400, None),
    "no character": ("application/json", b'{"prompt": "\\ud800"}', 400, None),
    "NaN": ("application/json", b'{"prompt": "x", "guidance_scale": NaN}', 400, None),
    "infinite": ("application/json", b'{"prompt": "x", "guidance_scale": 1e999}', 400, "guidance_scale"),
    "digits": ("application/json", b'{"prompt": "x", "n": ' + b"9" * 9999 + b"}", 400, None),
    "deep": ("application/json", b'{"a":' * 5000 + b"1" + b"}" * 5000, 400, None),
    "field twice": ("application/json", b'{"prompt": "x", "n": 1, "n": 2}', 400, "n"),
    "no type": (None, b'{"prompt": "x"}', 415, None),
    "text": ("text/plain", b'{"prompt": "x"}', 415, None),
    "form": (f"multipart/form-data; boundary={BOUNDARY}", form([("prompt", b"x")]), 415, None),
    "other characters": ("application/json; charset=latin-1", b'{"prompt": "x"}', 415, None),
}


@pytest.mark.parametrize("case", BODIES)
def test_a_bad_body_is_refused(openai_server: OpenAIServer, case: str) -> None:
    content_type, body, expected, param = BODIES[case]
    status, _, error = exchange(openai_server, head(GENERATIONS, content_type, len(body)) + body)
    assert (status, error["param"]) == (expected, param), error


def test_a_compressed_body_is_refused(openai_server: OpenAIServer) -> None:
    request = head(GENERATIONS, "application/json", 2, "Content-Encoding: gzip") + b"{}"
    assert exchange(openai_server, request)[0] == 415


PNG = b"\x89PNG\r\n\x1a\n"
FORMS: dict[str, tuple[str, list[tuple[str, bytes]], int, str | None]] = {
    "no image": (EDITS, [("prompt", b"x")], 400, "image"),
    "no prompt": (EDITS, [("image", b"SCENE")], 400, "prompt"),
    "17 images": (EDITS, [("prompt", b"x"), *[("image[]", b"SCENE")] * 17], 400, "image"),
    "51 MB": (EDITS, [("prompt", b"x"), ("image", PNG + b"0" * 51_000_000)], 413, "image"),
    "51 MB of mask": (EDITS, [("image", b"SCENE"), ("mask", b"0" * 51_000_000), ("prompt", b"x")], 413, "mask"),
    "a megabyte of prompt": (EDITS, [("image", b"SCENE"), ("prompt", b"x" * 1_000_000)], 413, "prompt"),
    "image[0] twice": (EDITS, [("prompt", b"x"), ("image[0]", b"SCENE"), ("image[0]", b"SCENE")], 400, "image"),
    "n as Python writes it": (EDITS, [("prompt", b"x"), ("n", b"1_0"), ("image", b"SCENE")], 400, "n"),
    "mask twice": (EDITS, [("prompt", b"x"), ("image", b"SCENE"), ("mask", b"a"), ("mask", b"b")], 400, "mask"),
    "prompt twice": (EDITS, [("prompt", b"x"), ("prompt", b"x"), ("image", b"SCENE")], 400, "prompt"),
    "100 fields": (EDITS, [(f"f{index}", b"x") for index in range(100)], 400, None),
    "prompt not UTF-8": (EDITS, [("prompt", b"\xff"), ("image", b"SCENE")], 400, "prompt"),
    "n no number": (EDITS, [("prompt", b"x"), ("n", b"two"), ("image", b"SCENE")], 400, "n"),
    "guidance NaN": (EDITS, [("prompt", b"x"), ("guidance_scale", b"nan"), ("image", b"SCENE")], 400, "guidance_scale"),
    "unknown": (EDITS, [("prompt", b"x"), ("colour", b"red"), ("image", b"SCENE")], 400, "colour"),
    "not an image": (EDITS, [("prompt", b"x"), ("image", b"no image at all!")], 400, "image"),
    "corrupt": (EDITS, [("prompt", b"x"), ("image", PNG)], 400, "image"),
    "GIF": (EDITS, [("prompt", b"x"), ("image", b"GIF89a")], 400, "image"),
    "empty image": (EDITS, [("prompt", b"x"), ("image", b"")], 400, "image"),
    "mask of another size": (EDITS, [("prompt", b"x"), ("image", b"SCENE"), ("mask", b"SMALL")], 400, "mask"),
    "file": (EDITS, [("prompt", b"x"), ("image", b"file:///etc/passwd")], 400, "image"),
    "stream of two": (EDITS, [("prompt", b"x"), ("image", b"SCENE"), ("stream", b"true"), ("n", b"2")], 400, "n"),
    "variation's prompt": (VARIATIONS, [("image", b"SCENE"), ("prompt", b"x")], 400, "prompt"),
    "variation's mask": (VARIATIONS, [("image", b"SCENE"), ("mask", b"SCENE")], 400, "mask"),
    "variation of nothing": (VARIATIONS, [("n", b"1")], 400, "image"),
}


@pytest.mark.parametrize("case", FORMS)
def test_a_bad_form_is_refused(openai_server: OpenAIServer, case: str, scene_png: bytes, small_png: bytes) -> None:
    path, parts, expected, param = FORMS[case]
    parts = [(name, {b"SCENE": scene_png, b"SMALL": small_png}.get(data, data)) for name, data in parts]
    status, _, error = exchange(openai_server, form_request(path, parts))
    assert (status, error["param"]) == (expected, param), error


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("multipart/form-data", form([("prompt", b"x")]), 400),
        ("multipart/form-data; boundary=", form([("prompt", b"x")]), 400),
        (f"multipart/form-data; boundary={'b' * 300}", b"", 400),
        ("multipart/form-data; boundary=other", form([("prompt", b"x")]), 400),
        (f"multipart/form-data; boundary={BOUNDARY}", form([("prompt", b"x")])[:-4], 400),
        (f"multipart/form-data; boundary={BOUNDARY}", b"", 400),
        (
            f"multipart/form-data; boundary={BOUNDARY}",
            f"--{BOUNDARY}\r\nA: b\r\n\r\nx\r\n--{BOUNDARY}--\r\n".encode(),
            400,
        ),
        ("application/x-www-form-urlencoded", b"prompt=x", 415),
    ],
)
def test_a_malformed_form_is_refused(
    openai_server: OpenAIServer, content_type: str, body: bytes, expected: int
) -> None:
    assert exchange(openai_server, head(EDITS, content_type, len(body)) + body)[0] == expected


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"images": []}, "images"),
        ({"images": [{"file_id": "file-1"}]}, "images[0].file_id"),
        ({"images": [{}]}, "images[0].image_url"),
        ({"images": [{"image_url": "https://x/", "colour": 1}]}, "images[0].colour"),
        ({"images": [{"image_url": "ftp://x/"}]}, "image"),
        ({"mask": {"file_id": "file-1"}}, "mask.file_id"),
        ({"images": [{"image_url": "https://x.example/"}] * 17}, "image"),
        ({"input_fidelity": "high"}, "input_fidelity"),
    ],
)
def test_a_bad_address_is_named(openai_server: OpenAIServer, fields: dict[str, Any], param: str) -> None:
    status, _, error = exchange(openai_server, json_request(EDITS, ADDRESSES | fields))
    assert (status, error["param"]) == (400, param), error


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(openai_server: OpenAIServer) -> None:
    request = head(EDITS, f"multipart/form-data; boundary={BOUNDARY}", 300_000_000, "Expect: 100-continue")
    assert exchange(openai_server, request)[0] == 413


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [("GET", "/v1/images/generations", 405), ("DELETE", "/v1/models", 405), ("GET", "/v2/health", 404)],
)
def test_routes_that_are_none(openai_server: OpenAIServer, method: str, path: str, expected: int) -> None:
    status, headers, _ = exchange(openai_server, head(path, None, 0, method=method))
    assert status == expected
    assert ("allow" in headers) == (expected == 405)


@pytest.mark.parametrize(
    "key",
    [
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "/etc/passwd",
        "users/../../etc/passwd",
        "users/alice/generations/../x/0123456789abcdef0123456789abcdef.png",
        "users/alice/generations/..%2f..%2f/0123456789abcdef0123456789abcdef.png",
        "users/alice/generations/x/.0123456789abcdef0123456789abcdef.png.part",
        "users/alice/generations/x/0123456789abcdef0123456789abcdef.png%00",
        "users/alice/generations/x/0123456789abcdef0123456789abcdef.png",
        "users/alice/generations/x/..\\..\\0123456789abcdef0123456789abcdef.png",
        "",
    ],
)
def test_only_images_of_the_store_are_files(openai_server: OpenAIServer, key: str) -> None:
    assert exchange(openai_server, head(f"/v1/images/files/{key}", None, 0, method="GET"))[0] == 404


def test_a_link_in_the_store_does_not_lead_out_of_it(openai_server: OpenAIServer) -> None:
    name = "0123456789abcdef0123456789abcdef.png"
    folder = openai_server.store / "users" / "mallory" / "generations" / "x"
    folder.mkdir(parents=True)
    (folder / name).symlink_to("/etc/passwd")
    (openai_server.store / "users" / "eve").symlink_to(openai_server.store.parent)
    for key in (f"users/mallory/generations/x/{name}", f"users/eve/generations/x/{name}"):
        assert exchange(openai_server, head(f"/v1/images/files/{key}", None, 0, method="GET"))[0] == 404


def test_a_client_may_vanish_at_any_byte(openai_server: OpenAIServer, scene_png: bytes) -> None:
    fields = {"prompt": "x", "num_inference_steps": 2, "stream": True}
    requests = [
        json_request(GENERATIONS, fields),
        form_request(EDITS, [("prompt", b"x"), ("num_inference_steps", b"2"), ("image", scene_png[:400])]),
    ]
    for request in requests:
        for cut in range(0, len(request) + 1, 7):
            connection = connect(openai_server.url)
            connection.sendall(request[:cut])
            reset(connection)
    with connect(openai_server.url) as connection:
        connection.sendall(json_request(GENERATIONS, {"prompt": "x", "num_inference_steps": 1}))
        assert read_response(connection)[0] == 200
