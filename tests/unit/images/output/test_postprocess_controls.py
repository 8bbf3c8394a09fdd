"""The control images of a request are handed over as its images are, where they are asked for."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagegen.api.errors import StorageFailed

FRAMES, CONTROLS = (np.random.default_rng(k).integers(0, 256, (k, 40, 56, 3), dtype=np.uint8) for k in (3, 2))
ASKED = np.array([True])
New = Callable[..., Any]


def pixels(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("values", [{}, {"return_control": ASKED}, {"control_pixels": CONTROLS}])
def test_there_are_none_unless_they_are_there_and_asked_for(new: New, values: dict[str, Any]) -> None:
    outputs = new().outputs(FRAMES, **values)
    assert outputs["used_control_image"].shape == (0,)
    assert outputs["used_control_image"].dtype == np.object_
    assert outputs["generated_image"].shape == (3,)


def test_they_come_in_their_order_and_the_images_are_as_without(new: New) -> None:
    run = new(embed_parameters=True)
    values = {"control_pixels": CONTROLS, "prompt": "a red circle", "output_format": "png"}
    outputs = run.outputs(FRAMES, return_control=ASKED, **values)
    for file, image in zip(outputs["used_control_image"], CONTROLS, strict=True):
        assert np.array_equal(pixels(file), image)
    assert outputs["generated_image"].tolist() == run.outputs(FRAMES, **values)["generated_image"].tolist()
    assert "parameters" not in Image.open(io.BytesIO(outputs["used_control_image"][0])).info  # no seed made it
    assert "parameters" in Image.open(io.BytesIO(outputs["generated_image"][0])).info


def test_base64_is_that_of_the_bytes(new: New) -> None:
    values = {"control_pixels": CONTROLS, "return_control": ASKED}
    text, files = (new().outputs(FRAMES, response_format=kind, **values) for kind in ("b64_json", "bytes"))
    assert [base64.b64decode(item) for item in text["used_control_image"]] == list(files["used_control_image"])


def test_addresses_are_others_than_the_images(new: New, tmp_path: Path) -> None:
    run = new(output_url=f"file://{tmp_path}", public_base_url="http://localhost/p")
    outputs = run.outputs(FRAMES, response_format="url", control_pixels=CONTROLS, return_control=ASKED)
    addresses = [*outputs["generated_image"], *outputs["used_control_image"]]
    assert len(set(addresses)) == 5
    for address, frame in zip(addresses, [*FRAMES, *CONTROLS], strict=True):
        stored = (tmp_path / address.decode().removeprefix("http://localhost/p/")).read_bytes()
        assert np.array_equal(pixels(stored), frame)


def test_all_are_stored_or_none(new: New, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = new(output_url=f"file://{tmp_path}", public_base_url="http://localhost/p")
    store = run.postprocessor._store
    write, written = store._write, []

    def fails_at_the_last(key: str, *arguments: Any, until_s: float) -> None:
        written.append(key)
        if len(set(written)) == 5:
            raise PermissionError
        write(key, *arguments, until_s=until_s)

    monkeypatch.setattr(store, "_write", fails_at_the_last)
    with pytest.raises(StorageFailed):
        run.outputs(FRAMES, response_format="url", control_pixels=CONTROLS, return_control=ASKED)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_they_are_not_counted_as_images(new: New) -> None:
    run = new()
    run.outputs(FRAMES, control_pixels=CONTROLS, return_control=ASKED)
    assert run.totals()["images_total png"] == 3
