"""Every rule of the public table holds: what breaks it is refused by name, what fits comes out typed."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from imagegen.api import tensors
from imagegen.api.errors import InvalidArgument
from imagegen.api.input_images import InputImages
from imagegen.api.limits import RequestLimits
from imagegen.api.loras import LoraChoice
from imagegen.api.request import (
    ImageRequest,
    OutputChoice,
    parse_output_choice,
    parse_partial_images,
    parse_request,
    parse_request_id,
)
from tests.unit.api.arrays import LIMITS, parse, tensor
from tests.unit.api.test_request_conditions import REJECTED_CONDITIONS

IMAGE = [b"an image"]


def test_only_the_prompt_is_needed_and_the_defaults_are_those_of_the_table() -> None:
    assert parse() == ImageRequest(prompt="a cat", output=OutputChoice("png", None, "bytes", None))


def test_every_input_comes_out_typed() -> None:
    request = parse(
        prompt=["ein Kätzchen 🐈"],
        negative_prompt=[""],
        image=[b"\x89PNG", b"http://host/a.png"],
        mask=[b"\xff\xd8"],
        n=[2],
        size=["512x768"],
        num_inference_steps=[4],
        guidance_scale=[0.0],
        strength=[0.8],
        scheduler=["euler"],
        lora=["outline", "dusk"],
        lora_scale=[0.8],
        timeout_ms=[60_000],
        seed=[7, 5],
        output_format=["webp"],
        output_compression=[0],
        response_format=["b64_json"],
        user=["client 7"],
    )
    assert request == ImageRequest(
        prompt="ein Kätzchen 🐈",
        negative_prompt="",
        images=(b"\x89PNG", b"http://host/a.png"),
        mask=b"\xff\xd8",
        n=2,
        size=(512, 768),
        num_inference_steps=4,
        guidance_scale=0.0,
        strength=0.8,
        scheduler="euler",
        loras=(LoraChoice("outline", 0.8), LoraChoice("dusk", 1.0)),
        timeout_ms=60_000,
        seeds=(7, 5),
        output=OutputChoice("webp", 0, "b64_json", "client 7"),
    )


# (inputs, the field that is refused, what the message says of value and allowed range)
REJECTED: list[tuple[dict[str, Any], str, str]] = [
    ({"prompt": None}, "prompt", "missing; it is required"),
    ({"prompt": [""]}, "prompt", "0 characters; 1..32000"),
    ({"prompt": ["x" * 32_001]}, "prompt", "32001 characters; 1..32000"),
    ({"prompt": [b"ab\xff"]}, "prompt", "not valid UTF-8 at byte 2"),
    ({"prompt": ["a", "b"]}, "prompt", "shape [2]; the shape is [1]"),
    ({"prompt": [["a"]]}, "prompt", "shape [1, 1]; the shape is [1]"),
    ({"prompt": []}, "prompt", "shape [0]; the shape is [1]"),
    ({"negative_prompt": ["x" * 32_001]}, "negative_prompt", "32001 characters; 0..32000"),
    ({"image": []}, "image", "shape [0]; 1..16 elements"),
    ({"image": [b"i"] * 17}, "image", "too_large: 17 images; at most 16 are allowed"),
    ({"image": [[b"i"]]}, "image", "shape [1, 1]; 1..16 elements"),
    ({"image": IMAGE, "mask": [b"m", b"m"]}, "mask", "too_large: 2 masks; at most 1 is allowed"),
    ({"mask": [b"m"]}, "mask", "given without image"),
    ({"n": [0]}, "n", "0 is outside 1..10"),
    ({"n": [11]}, "n", "11 is outside 1..10"),
    ({"n": [-1]}, "n", "-1 is outside 1..10"),
    ({"n": [1, 2]}, "n", "shape [2]"),
    ({"size": ["big"]}, "size", '\'big\' is neither "auto" nor "WxH"'),
    ({"size": [""]}, "size", "'' is neither"),
    ({"size": ["512 x512"]}, "size", "'512 x512' is neither"),
    ({"size": ["512x512\n"]}, "size", "neither"),
    ({"size": ["-512x512"]}, "size", "neither"),
    ({"size": ["٥١٢x512"]}, "size", "neither"),  # digits, but not ASCII ones
    ({"size": ["64X64"]}, "size", 'write it as "64x64"'),
    ({"size": ["1024*1024"]}, "size", 'write it as "1024x1024"'),
    ({"size": ["1024 x 768"]}, "size", 'write it as "1024x768"'),
    ({"size": ["1024×768"]}, "size", 'write it as "1024x768"'),
    ({"size": ["1024, 768"]}, "size", 'write it as "1024x768"'),
    ({"size": ["1024:768"]}, "size", 'write it as "1024x768"'),
    ({"size": [" 1024x768px\n"]}, "size", 'write it as "1024x768"'),
    ({"size": ["1024px x 768px"]}, "size", 'write it as "1024x768"'),
    ({"size": ["(1024, 768)"]}, "size", 'write it as "1024x768"'),
    ({"size": ["1024"]}, "size", 'write it as "1024x1024"'),
    ({"size": ["Auto"]}, "size", 'write it as "auto"'),
    ({"size": ["٥١٢x512"]}, "size", 'write it as "512x512"'),
    ({"size": ["9" * 40]}, "size", 'as in "512x512"'),
    ({"size": ["1.5x2"]}, "size", 'as in "512x512"'),
    ({"size": ["0x512"]}, "size", '"0x512" is not allowed: each side is 8..2048 pixels, a multiple of 8'),
    ({"size": ["513x512"]}, "size", '"513x512" is not allowed'),
    ({"size": ["512x516"]}, "size", '"512x516" is not allowed'),
    ({"size": ["2056x8"]}, "size", "each side is 8..2048"),
    ({"size": ["1032x1024"]}, "size", "width x height at most 1048576"),
    ({"size": ["999999999x999999999"]}, "size", "is not allowed"),
    ({"num_inference_steps": [0]}, "num_inference_steps", "0 is outside 1..100"),
    ({"num_inference_steps": [101]}, "num_inference_steps", "101 is outside 1..100"),
    ({"guidance_scale": [-0.5]}, "guidance_scale", "-0.5 is outside the allowed range, 0..30"),
    ({"guidance_scale": [30.5]}, "guidance_scale", "30.5 is outside the allowed range, 0..30"),
    ({"guidance_scale": [math.nan]}, "guidance_scale", "nan is outside the allowed range"),
    ({"guidance_scale": [math.inf]}, "guidance_scale", "inf is outside the allowed range"),
    ({"image": IMAGE, "strength": [0.0]}, "strength", "0 is outside the allowed range, above 0, up to 1"),
    ({"image": IMAGE, "strength": [1.01]}, "strength", "1.01 is outside the allowed range, above 0, up to 1"),
    ({"image": IMAGE, "strength": [math.nan]}, "strength", "nan is outside"),
    ({"strength": [0.5]}, "strength", "given without image"),
    ({"scheduler": ["magic"]}, "scheduler", "'magic' is not one of ddim, ddpm,"),
    ({"scheduler": ["DDIM"]}, "scheduler", "'DDIM' is not one of"),
    ({"step_cache": ["magic"]}, "step_cache", "'magic' is not one of off, fine, balanced, fast"),
    ({"lora": ["a"] * 5}, "lora", "5 of them; at most 4 are allowed"),
    ({"lora": ["a", "a"]}, "lora", "'a' is named twice"),
    ({"lora_scale": [1]}, "lora_scale", "1 scales for 0 names"),
    ({"lora": ["a"], "lora_scale": [5]}, "lora_scale", "5 is outside the allowed range, -4..4"),
    ({"timeout_ms": [0]}, "timeout_ms", "0 is outside 1..3600000"),
    ({"timeout_ms": [3_600_001]}, "timeout_ms", "3600001 is outside 1..3600000"),
    ({"seed": [-1]}, "seed", "-1 is outside 0..9223372036854775807"),
    ({"seed": [-1]}, "seed", "leave it out for a random one"),
    ({"n": [2], "seed": [5, -(2**63)]}, "seed", "leave it out for random ones"),
    ({"seed": []}, "seed", "shape [0]; one seed or n=1 seeds"),
    ({"seed": [[1]]}, "seed", "shape [1, 1]; one seed"),
    ({"n": [3], "seed": [1, 2]}, "seed", "shape [2]; one seed or n=3 seeds"),
    ({"n": [3], "seed": [2**63 - 3 + 1]}, "seed", "9223372036854775806 is outside 0..9223372036854775805"),
    ({"output_format": ["gif"]}, "output_format", "'gif' is not one of png, jpeg, webp"),
    ({"output_format": ["jpg2"]}, "output_format", "'jpg2' is not one of png, jpeg, webp"),
    ({"output_compression": [-1]}, "output_compression", "-1 is outside 0..100"),
    ({"output_compression": [101]}, "output_compression", "101 is outside 0..100"),
    ({"response_format": ["json"]}, "response_format", "'json' is not one of bytes, b64_json, url"),
    ({"response_format": ["url"]}, "response_format", "needs a result store"),
    ({"user": [""]}, "user", "0 characters; 1..256"),
    ({"user": ["u" * 257]}, "user", "257 characters; 1..256"),
]


@pytest.mark.parametrize(("values", "field", "says"), REJECTED)
def test_what_breaks_a_rule_is_refused_with_field_value_and_allowed_range(
    values: dict[str, Any], field: str, says: str
) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(says)) as refusal:
        parse(**values)
    assert refusal.value.field == field
    assert str(refusal.value).startswith(f"invalid_argument: {field}: ")


def test_every_input_of_the_table_has_a_refusal() -> None:
    rejected = [*REJECTED, *REJECTED_CONDITIONS]
    assert {field.partition("[")[0] for _, field, _ in rejected} == set(tensors.INPUT_NAMES)


def test_an_unknown_input_is_refused_and_the_known_ones_are_listed() -> None:
    with pytest.raises(InvalidArgument, match=r"^invalid_argument: promt: no such input; inputs are prompt, negat"):
        parse_request({"promt": np.array([b"a"], dtype=np.object_)}, LIMITS)


def test_a_long_value_is_not_echoed_in_full() -> None:
    with pytest.raises(InvalidArgument) as refusal:
        parse(scheduler=["x" * 1_000_000])
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    ("values", "attribute", "value"),
    [
        ({"prompt": ["é" * 32_000]}, "prompt", "é" * 32_000),  # characters, not bytes
        ({"negative_prompt": [""]}, "negative_prompt", ""),
        ({"image": [b"i"] * 16}, "images", (b"i",) * 16),
        ({"image": [b"", b"i", b""]}, "images", (b"", b"i", b"")),  # the loader reports all bad images together
        ({"image": IMAGE, "mask": [b""]}, "mask", b""),
        ({"n": [1]}, "n", 1),
        ({"n": [10]}, "n", 10),
        ({"size": ["auto"]}, "size", None),
        ({"size": ["8x2048"]}, "size", (8, 2048)),
        ({"size": ["1024x1024"]}, "size", (1024, 1024)),
        ({"size": ["0512x512"]}, "size", (512, 512)),
        ({"num_inference_steps": [1]}, "num_inference_steps", 1),
        ({"num_inference_steps": [100]}, "num_inference_steps", 100),
        ({"guidance_scale": [0]}, "guidance_scale", 0.0),
        ({"guidance_scale": [7.3]}, "guidance_scale", 7.3),
        ({"guidance_scale": [30]}, "guidance_scale", 30.0),
        ({"image": IMAGE, "strength": [1]}, "strength", 1.0),
        ({"image": IMAGE, "strength": [1e-6]}, "strength", 1e-6),
        ({"timeout_ms": [3_600_000]}, "timeout_ms", 3_600_000),
        ({"seed": [0]}, "seeds", (0,)),
        ({"seed": [2**63 - 1]}, "seeds", (2**63 - 1,)),
        ({"n": [2], "seed": [2**63 - 2]}, "seeds", (2**63 - 2,)),
        ({"n": [2], "seed": [2**63 - 1, 0]}, "seeds", (2**63 - 1, 0)),
    ],
)
def test_values_on_the_boundary_are_accepted(values: dict[str, Any], attribute: str, value: object) -> None:
    assert getattr(parse(**values), attribute) == value


def test_a_cap_that_float32_cannot_hold_is_itself_allowed() -> None:
    """7.3 arrives as 7.300000190734863: a comparison with that refused "7.3 is outside 0..7.3"."""
    arrays = {"prompt": tensor("prompt", ["a"]), "guidance_scale": tensor("guidance_scale", [7.3])}
    assert parse_request(arrays, RequestLimits(max_guidance_scale=7.3)).guidance_scale == 7.3


def test_a_model_behind_the_edge_says_itself_whether_there_are_images() -> None:
    arrays = {"prompt": tensor("prompt", ["a"]), "strength": tensor("strength", [0.5])}
    assert parse_request(arrays, LIMITS, given=InputImages(np.zeros((1, 8, 8, 3), np.uint8))).strength == 0.5
    with pytest.raises(InvalidArgument, match="strength: given without image"):
        parse_request(arrays, LIMITS, given=InputImages())


def test_urls_are_given_where_there_is_a_store() -> None:
    arrays = {"prompt": tensor("prompt", ["a"]), "response_format": tensor("response_format", ["url"])}
    assert parse_request(arrays, LIMITS, has_store=True).output.response_format == "url"
    with pytest.raises(InvalidArgument, match=r"response_format: .*result store"):
        parse_request(arrays, LIMITS)


def test_the_output_choice_can_be_read_alone() -> None:
    arrays = {"output_format": tensor("output_format", ["jpeg"]), "user": tensor("user", ["u"])}
    assert parse_output_choice(arrays) == OutputChoice("jpeg", None, "bytes", "u")


def test_jpg_is_jpeg() -> None:
    assert parse_output_choice({"output_format": tensor("output_format", ["jpg"])}).output_format == "jpeg"
    with pytest.raises(InvalidArgument, match="result store"):
        parse_output_choice({"response_format": tensor("response_format", ["url"])})


@pytest.mark.parametrize(("values", "expected"), [({}, 0), ({"partial_images": 0}, 0), ({"partial_images": 3}, 3)])
def test_partial_images_are_0_to_3(values: dict[str, int], expected: int) -> None:
    arrays = {name: np.array([value], dtype=np.int32) for name, value in values.items()}
    assert parse_partial_images(arrays) == expected


@pytest.mark.parametrize("value", [[-1], [4], [1, 2], []])
def test_other_numbers_of_partial_images_are_refused_by_name(value: list[int]) -> None:
    with pytest.raises(InvalidArgument, match="partial_images"):
        parse_partial_images({"partial_images": np.array(value, dtype=np.int32)})


@pytest.mark.parametrize("text", ["a", "ä" * 1024, "a b"])
def test_a_request_id_is_any_text(text: str) -> None:
    assert parse_request_id({"request_id": np.array([text.encode()], dtype=np.object_)}) == text


@pytest.mark.parametrize("values", [None, [b""], [b"x" * 1025], [b"\xff"], [b"a", b"b"]])
def test_no_request_id_is_refused_by_name(values: list[bytes] | None) -> None:
    arrays = {} if values is None else {"request_id": np.array(values, dtype=np.object_)}
    with pytest.raises(InvalidArgument, match="request_id"):
        parse_request_id(arrays)
