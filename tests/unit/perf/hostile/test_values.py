"""Values that are said to be wrong are: by the server's own parsers, without a server."""

from __future__ import annotations

import io
import random
from typing import Any

import pytest
from PIL import Image

from imagegen.api import tensors
from imagegen.openai.errors import ApiError
from imagegen.openai.fields import GenerationFields, parse_fields
from imagegen.openai.json_body import parse_object
from perf.hostile.bytes_mutation import mutated
from perf.hostile.image_files import doubtful_file, wrong_file
from perf.hostile.values import CHEAP, UNLIKELY, WRONG, WRONG_FOR_OPENAI, json_text
from perf.workload import scene_png


def parsed(fields: dict[str, str]) -> dict[str, Any]:
    return parse_fields(GenerationFields, parse_object(json_text(fields))).model_dump(exclude_none=True)


def test_every_tensor_has_wrong_values() -> None:
    assert set(WRONG) == {tensor.name for tensor in tensors.INPUTS} - {"image", "mask"}
    assert set(WRONG) <= set(WRONG_FOR_OPENAI)
    assert set(UNLIKELY) <= set(WRONG)


def test_what_makes_a_request_cheap_is_right() -> None:
    assert parsed(CHEAP) == {"prompt": "x", "size": "64x64", "num_inference_steps": 1}


@pytest.mark.parametrize("name", ["stream", "no_such_field", "__class__"])
def test_wrong_types_and_names_are_refused_by_the_schema_alone(name: str) -> None:
    """Ranges are judged by Triton's models, for which the program itself needs a server."""
    for value in WRONG_FOR_OPENAI[name]:
        with pytest.raises(ApiError):
            parsed(CHEAP | {name: value})


def test_json_text_keeps_what_no_library_would_write() -> None:
    assert json_text({"n": "NaN", "size": "01", "prompt": '"\xff"'}) == b'{"n":NaN,"size":01,"prompt":"\xff"}'


def test_damage_changes_something_and_is_bounded() -> None:
    dice = random.Random(1)
    data = bytes(range(256)) * 4
    results = [mutated(dice, data) for _ in range(200)]
    assert sum(result != data for result in results) > 190
    assert all(len(result) < 2 * len(data) for result in results)
    assert mutated(dice, b"") == b""


def test_files_are_small_however_much_comes_out_of_them() -> None:
    dice = random.Random(2)
    files = [make(dice) for make in (wrong_file, doubtful_file) for _ in range(300)]
    assert max(map(len, files)) < 600_000


def test_some_doubtful_files_are_images_and_no_wrong_one_is_the_scene() -> None:
    dice = random.Random(3)
    assert scene_png() not in [wrong_file(dice) for _ in range(300)]
    readable = 0
    for _ in range(60):
        try:
            with Image.open(io.BytesIO(doubtful_file(dice))) as image:
                readable += image.size == (128, 128)
        except Exception:  # Pillow raises all kinds of them at damaged files
            continue
    assert readable
