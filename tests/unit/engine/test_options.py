"""The library's arguments obey the rules of the server, and a wrong one is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from imagegen.api.errors import InvalidArgument
from imagegen.api.limits import RequestLimits
from imagegen.api.loras import LoraChoice
from imagegen.api.request import ImageRequest
from imagegen.engine.options import parse_options
from tests.unit.tiny_engine import image, mask

LIMITS = RequestLimits(max_num_inference_steps=40)


def parsed(prompt: Any = "a red cat", **options: Any) -> ImageRequest:
    return parse_options(prompt, options, LIMITS, 8)[0]  # type: ignore[arg-type]


def test_what_is_left_out_or_none_is_absent() -> None:
    assert parsed() == parsed(n=None, seed=None, size=None, images=None) == ImageRequest("a red cat")


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ({"negative_prompt": ""}, "negative_prompt", ""),
        ({"n": 10}, "n", 10),
        ({"n": np.int64(3)}, "n", 3),
        ({"size": (64, 32)}, "size", (64, 32)),
        ({"size": "64x32"}, "size", (64, 32)),
        ({"size": "auto"}, "size", None),
        ({"guidance_scale": 0}, "guidance_scale", 0.0),
        ({"guidance_scale": 4.1}, "guidance_scale", 4.1),
        ({"strength": 0.5, "images": image()}, "strength", 0.5),
        ({"scheduler": "ddim"}, "scheduler", "ddim"),
        ({"lora": "outline"}, "loras", (LoraChoice("outline"),)),
        ({"lora": "outline", "lora_scale": 0.8}, "loras", (LoraChoice("outline", 0.8),)),
        ({"lora": ("a", "b"), "lora_scale": [2, np.float32(0.8)]}, "loras", (LoraChoice("a", 2), LoraChoice("b", 0.8))),
        ({"seed": 2**63 - 1}, "seeds", (2**63 - 1,)),
        ({"seed": np.int32(5)}, "seeds", (5,)),
        ({"seed": [3, 1], "n": 2}, "seeds", (3, 1)),
        ({"timeout_ms": 5}, "timeout_ms", 5),
        ({"request_id": "mine"}, "user", None),
    ],
)
def test_values_reach_the_request(options: dict[str, Any], field: str, value: Any) -> None:
    request = parsed(**options)
    assert getattr(request.output if field == "user" else request, field) == value


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"prompt": ""}, "prompt: 0 characters; 1..32000"),
        ({"prompt": b"bytes"}, "prompt: bytes; it is a text"),
        ({"n": 0}, "n: 0 is outside 1..10"),
        ({"n": 1.5}, "n: float; it is a whole number"),
        ({"n": 2**80}, "n: .* is outside"),
        ({"num_inference_steps": 41}, "num_inference_steps: 41 is outside 1..40"),
        ({"guidance_scale": float("nan")}, "guidance_scale: nan is outside"),
        ({"guidance_scale": "much"}, "guidance_scale: str; it is a number"),
        ({"strength": 0.5}, "strength: given without image"),
        ({"size": (63, 64)}, "size: .*multiple of 8"),
        ({"size": (64, 64, 64)}, "size: .*neither"),
        ({"scheduler": "none"}, "scheduler: 'none' is not one of"),
        ({"lora": 7}, "lora: int; it is one name or several"),
        ({"lora": ["a", 7]}, "lora: int; it is one name or several"),
        ({"lora": ["a"] * 5}, "lora: 5 of them; at most 4"),
        ({"lora": "a", "lora_scale": "strong"}, "lora_scale: str; it is a number"),
        ({"lora": "a", "lora_scale": None, "n": 0}, "n: 0 is outside"),
        ({"lora": "a", "lora_scale": {}.keys}, "lora_scale: builtin_function_or_method; it is one number or several"),
        ({"lora": "a", "lora_scale": float("nan")}, "lora_scale: nan is outside"),
        ({"lora_scale": 1}, "lora_scale: 1 scales for 0 names"),
        ({"seed": 2**63}, "seed: 9223372036854775808 is outside"),
        ({"seed": [1, 2]}, "seed: shape"),
        ({"seed": "x"}, "seed: str; it is a whole number"),
        ({"seed": 1.5}, "seed: float; it is one whole number or several"),
        ({"size": 64}, r"size: int; it is \(width, height\) or a text"),
        ({"timeout_ms": 0}, "timeout_ms: 0 is outside"),
        ({"partial_images": 4}, "partial_images: 4 is outside 0..3"),
        ({"images": image().astype(np.float32)}, r"image: float32 .*uint8 \[H, W, 3\]"),
        ({"images": image()[..., :2]}, "image: uint8 .*is allowed"),
        ({"mask": image()}, r"mask: uint8 .*\[H, W\] is allowed"),
        ({"mask": np.zeros((2, 64, 64), np.uint8)}, r"mask: uint8 \[2, 64, 64\]; uint8 \[H, W\] is allowed"),
        ({"output_format": "png"}, "output_format: no such argument; arguments are negative_prompt, images"),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_allowed(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem):
        parsed(options.pop("prompt", "a red cat"), **options)


@pytest.mark.parametrize("name", ["images", "controls"])
def test_several_of_different_sizes_are_an_invalid_argument(name: str) -> None:
    with pytest.raises(InvalidArgument, match="several of different sizes; one size is allowed"):
        parsed(**{name: [image()[0], image(height=64)[0]]})


def test_images_and_mask_may_come_without_their_first_dimension() -> None:
    _, images, previews = parse_options(
        "a red cat", {"images": image()[0], "mask": mask()[0], "partial_images": 2}, LIMITS, 8
    )
    assert images.images is not None
    assert images.mask is not None
    assert (images.images.shape, images.mask.shape, previews) == ((1, 32, 32, 3), (1, 32, 32), 2)
