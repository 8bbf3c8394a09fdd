"""perf_analyzer gets the same requests however the image travels."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from imagegen.api.tensors import INPUTS
from perf.analyzer_inputs import BASE64, TEXT, URL, file_stem, input_rows, write_input_data
from perf.wanted import scene_png

ROWS = input_rows(4, "64x96", "http://127.0.0.1:1")


def test_every_kind_has_the_same_requests_but_for_the_image() -> None:
    without = [[{**row, "image": None} for row in rows] for rows in ROWS.values()]
    assert without[0] == without[1] == without[2]
    assert {row["size"] for row in without[0]} == {"64x96"}
    assert len({row["prompt"] for row in without[0]}) == len(without[0]) == 8


def test_the_image_travels_as_the_kind_says() -> None:
    assert not any("image" in row for row in ROWS[TEXT])
    assert {base64.b64decode(row["image"]) for row in ROWS[BASE64]} == {scene_png()}
    urls = [row["image"] for row in ROWS[URL]]
    assert all(url.startswith("http://127.0.0.1:1/scene.png?") for url in urls)
    assert len(set(urls)) == len(urls)


def test_the_file_has_public_tensors_with_their_shapes(tmp_path: Path) -> None:
    data = json.loads(write_input_data(tmp_path / "in.json", ROWS[BASE64]).read_text())["data"]
    assert len(data) == 8
    assert set(data[0]) < {tensor.name for tensor in INPUTS}
    assert data[1]["seed"] == {"content": [1], "shape": [1]}


def test_the_example_for_the_command_line_is_valid() -> None:
    example = Path(__file__).resolve().parents[3] / "perf" / "text_to_image.json"
    assert set(json.loads(example.read_text())["data"][0]) == {"prompt", "num_inference_steps"}


def test_file_names_are_plain() -> None:
    assert [file_stem(kind) for kind in ROWS] == ["text-to-image", "image-to-image-base64", "image-to-image-url"]
