"""Every row of the tensor table violated in turn: 400 / INVALID_ARGUMENT naming field and rule; the server goes on."""

from __future__ import annotations

import json
import math
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from imagegen.launch.embedded_server import EmbeddedServer

Infer = Callable[..., Any]
BAD_REQUEST = {"400", "StatusCode.INVALID_ARGUMENT"}
PNG = b"\x89PNG\r\n\x1a\n"

VIOLATIONS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "prompt empty": ({"prompt": ""}, ["prompt", "0 characters", "1..32000"]),
    "prompt too long": ({"prompt": "a" * 32_001}, ["prompt", "32001", "1..32000"]),
    "prompt broken UTF-8": ({"prompt": b"\xff\xfe"}, ["prompt", "UTF-8"]),
    "prompt missing": ({"prompt": None}, ["prompt", "missing"]),
    "prompt twice": ({"prompt": ["a", "b"]}, ["prompt", "[1]", "[2]"]),
    "prompt of the wrong type": ({"prompt": ("INT32", np.ones(1, np.int32))}, ["prompt", "INT32"]),
    "negative_prompt too long": ({"negative_prompt": "a" * 32_001}, ["negative_prompt", "32001", "0..32000"]),
    "image of nothing": ({"image": ""}, ["image[0]", "empty"]),
    "image of text": ({"image": "no image at all!"}, ["image[0]"]),
    "image from a file": ({"image": "file:///etc/passwd"}, ["image[0]", "url_not_allowed"]),
    "image corrupt": ({"image": PNG}, ["image[0]", "invalid_image", "damaged"]),
    "image of another format": ({"image": b"GIF89a"}, ["image[0]", "unsupported_media_type", "GIF", "WEBP"]),
    "images each with its problem": (
        {"image": [b"GIF89a", "!", "ftp://x/"], "n": 3},
        ["image[0]: unsupported_media_type", "image[1]: invalid_image", "image[2]: url_not_allowed"],
    ),
    "images too many": ({"image": ["x"] * 17}, ["image", "too_large", "17", "16"]),
    "images unlike n": ({"image": "SCENES", "n": 3}, ["image", "2", "3"]),
    "mask without image": ({"mask": PNG}, ["mask", "image"]),
    "mask of another size": ({"image": "SCENE", "mask": "SMALL"}, ["mask", "8x8", "128x128"]),
    "n 0": ({"n": 0}, ["n", "0", "1..10"]),
    "n 11": ({"n": 11}, ["n", "11", "1..10"]),
    "n of the wrong type": ({"n": ("INT64", np.ones(1, np.int64))}, ["n", "INT64"]),
    "n of the wrong shape": ({"n": ("INT32", np.ones((1, 1), np.int32))}, ["n", "[1,1]"]),
    "size 0x0": ({"size": "0x0"}, ["size", "0x0", "2048"]),
    "size huge": ({"size": "100000x10000"}, ["size", "100000x10000", "2048"]),
    "size no size": ({"size": "axb"}, ["size", "axb", "WxH"]),
    "size off the grid": ({"size": "100x100"}, ["size", "100x100", "multiple of 8"]),
    "steps 0": ({"num_inference_steps": 0}, ["num_inference_steps", "0", "1..100"]),
    "steps above the cap": ({"num_inference_steps": 101}, ["num_inference_steps", "101", "1..100"]),
    "guidance NaN": ({"guidance_scale": math.nan}, ["guidance_scale", "nan", "0..30"]),
    "guidance infinite": ({"guidance_scale": math.inf}, ["guidance_scale", "inf", "0..30"]),
    "guidance negative": ({"guidance_scale": -1.0}, ["guidance_scale", "-1", "0..30"]),
    "strength 0": ({"image": "SCENE", "strength": 0.0}, ["strength", "0", "above 0, up to 1"]),
    "strength 1.1": ({"image": "SCENE", "strength": 1.1}, ["strength", "1.1", "above 0, up to 1"]),
    "strength without image": ({"strength": 0.5}, ["strength", "image"]),
    "strength without a step": ({"image": "SCENE", "strength": 0.1, "num_inference_steps": 4}, ["strength", "0.25"]),
    "scheduler unknown": ({"scheduler": "magic"}, ["scheduler", "magic", "euler"]),
    "timeout_ms 0": ({"timeout_ms": 0}, ["timeout_ms", "0", "1..3600000"]),
    "seeds of the wrong number": ({"seed": [1, 2, 3], "n": 2}, ["seed", "[3]", "n=2"]),
    "seed negative": ({"seed": -1}, ["seed", "-1", "0.."]),
    "output_format unknown": ({"output_format": "bmp"}, ["output_format", "bmp", "webp"]),
    "output_compression 101": ({"output_compression": 101}, ["output_compression", "101", "0..100"]),
    "response_format unknown": ({"response_format": "fax"}, ["response_format", "fax", "b64_json"]),
    "response_format without store": ({"response_format": "url"}, ["response_format", "url", "store"]),
    "user too long": ({"user": "u" * 257}, ["user", "257", "1..256"]),
    "input unknown": ({"colour": "red"}, ["colour"]),
}


@pytest.mark.parametrize("case", VIOLATIONS)
def test_refused_with_field_value_and_rule(infer: Infer, case: str, scene_png: bytes, small_png: bytes) -> None:
    values, words = VIOLATIONS[case]
    stand_ins = {"SCENE": scene_png, "SCENES": [scene_png, scene_png], "SMALL": small_png}
    values = {"prompt": "x", **values}
    values = {k: stand_ins.get(v, v) if isinstance(v, str) else v for k, v in values.items() if v is not None}
    with pytest.raises(InferenceServerException) as refused:
        infer(**values)
    assert refused.value.status() in BAD_REQUEST
    message = refused.value.message()
    assert [word for word in words if word not in message] == [], message
    assert len(infer(prompt="still there", num_inference_steps=1).raw) == 1


def test_an_unknown_key_on_generate_is_refused(server: EmbeddedServer) -> None:
    url = f"http://{server.http_url}/v2/models/image_generation/generate"
    body = json.dumps({"prompt": "x", "guidance": 3, "response_format": "b64_json"}).encode()
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(url, body), timeout=60)
    with refused.value as response:
        assert response.code == 400
        assert "guidance: no such input or parameter" in response.read().decode()
