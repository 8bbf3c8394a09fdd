"""A request's frames come out as bytes, base64 or addresses, with the metadata; what cannot be done says why."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagegen.api.errors import InternalError, InvalidArgument, StorageFailed
from imagegen.images.output.metrics import PostprocessMeasures
from imagegen.images.output.postprocess import Postprocessor
from imagegen.images.output.settings import PostprocessSettings
from imagegen.metrics import Family

FRAMES = np.random.default_rng(0).integers(0, 256, (3, 40, 56, 3), dtype=np.uint8)
REPORT: dict[str, Any] = {"model": "m", "size": "56x40", "num_inference_steps": 4, "milliseconds": {"denoise": 1.5}}


class Totals:
    """What was counted: the sum of a counter, the number of observations of a histogram, by name and labels."""

    def __init__(self) -> None:
        self.totals: dict[str, float] = {}

    def __call__(self, family: Family, labels: dict[str, str]) -> Totals.Series:
        name = family.name.removeprefix("imagegen_postprocess_")
        return Totals.Series(self.totals, " ".join([name, *labels.values()]))

    class Series:
        def __init__(self, totals: dict[str, float], key: str) -> None:
            self._totals, self._key = totals, key

        def increment(self, value: float) -> None:
            self._totals[self._key] = self._totals.get(self._key, 0) + value

        def set(self, value: float) -> None:
            raise AssertionError("there are no gauges here")

        def observe(self, value: float) -> None:
            assert value >= 0
            self.increment(1)


class Running:
    """A postprocessor, what it counted, and a short way to ask it."""

    def __init__(self, settings: PostprocessSettings) -> None:
        self._series = Totals()
        self._postprocessor = Postprocessor(settings, PostprocessMeasures(self._series))
        self._open = True

    def __call__(self, frames: Any = FRAMES, request_id: str = "", **values: Any) -> tuple[list[bytes], dict[str, Any]]:
        arrays = {
            "frames": frames,
            "frame_seed": np.arange(7, 7 + len(frames)),
            "diffusion_report": np.array([json.dumps(REPORT).encode()], dtype=np.object_),
        }
        for name, value in values.items():
            text = isinstance(value, str)
            arrays[name] = np.array([value.encode() if text else value], dtype=np.object_ if text else np.int32)
        answer = self._postprocessor.handle(arrays, request_id)
        assert answer["used_seed"].tolist() == list(range(7, 7 + len(frames)))
        return list(answer["generated_image"]), json.loads(answer["metadata"][0])

    def totals(self) -> dict[str, float]:
        self.close()
        return self._series.totals

    def close(self) -> None:
        if self._open:
            self._postprocessor.close()
        self._open = False


@pytest.fixture
def new() -> Iterator[Callable[..., Running]]:
    made = []

    def new(**settings: Any) -> Running:
        made.append(Running(PostprocessSettings(**settings)))
        return made[-1]

    yield new
    for running in made:
        running.close()


New = Callable[..., Running]


def pixels(data: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_bytes_in_the_order_of_the_frames(new: New) -> None:
    images, metadata = new()()
    assert [np.array_equal(pixels(image), frame) for image, frame in zip(images, FRAMES, strict=True)] == [True] * 3
    assert metadata["output_format"] == "png"
    assert set(metadata["milliseconds"]) == {"denoise", "postprocess"}
    assert {name: metadata[name] for name in REPORT if name != "milliseconds"} == {
        name: value for name, value in REPORT.items() if name != "milliseconds"
    }


def test_base64_is_that_of_the_bytes(new: New) -> None:
    run = new()
    assert run(response_format="b64_json")[0] == [base64.b64encode(image) for image in run()[0]]


def test_addresses_lead_to_the_stored_bytes(new: New, tmp_path: Path) -> None:
    run = new(output_url=f"file://{tmp_path}", public_base_url="http://localhost/p")
    addresses, metadata = run(response_format="url", user="al/ice", request_id="r 1", output_format="webp")
    for address, image in zip(addresses, run(output_format="webp")[0], strict=True):
        key = address.decode().removeprefix("http://localhost/p/")
        assert re.fullmatch(r"users/al_ice-[0-9a-f]{12}/generations/r_1-[0-9a-f]{12}/[0-9a-f]{32}\.webp", key), key
        assert (tmp_path / key).read_bytes() == image
    assert set(metadata["milliseconds"]) == {"denoise", "store", "postprocess"}


def test_everything_is_counted(new: New, tmp_path: Path) -> None:
    run = new(output_url=f"file://{tmp_path}", public_base_url="http://localhost")
    size = sum(map(len, run(output_format="jpeg")[0]))
    run(output_format="jpeg", response_format="url")
    (tmp_path / "users" / "bob").write_text("in the way")
    with pytest.raises(StorageFailed):
        run(response_format="url", user="bob")
    with pytest.raises(InvalidArgument):
        run(output_compression=101)
    assert run.totals() == {
        "images_total jpeg": 6,
        "image_bytes_total jpeg": 2 * size,
        "encode_seconds jpeg": 2,
        "encode_seconds png": 1,
        "store_seconds": 1,
        "failures_total storage_failed": 1,
        "failures_total invalid_argument": 1,
    }


def test_files_say_nothing_unless_asked_and_then_how_they_were_made(new: New) -> None:
    assert "parameters" not in Image.open(io.BytesIO(new()(prompt="a red circle")[0][0])).info
    (first, second), _ = new(embed_parameters=True)(FRAMES[:2], prompt="a red circle", negative_prompt="blue")
    for image, seed in ((first, 7), (second, 8)):
        text = Image.open(io.BytesIO(image)).info["parameters"]
        assert text == f"a red circle\nNegative prompt: blue\nSteps: 4, Seed: {seed}, Size: 56x40, Model: m"


def test_an_address_without_a_store_is_refused(new: New) -> None:
    with pytest.raises(InvalidArgument, match=r"response_format: .url. needs a result store"):
        new()(response_format="url")


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_alpha(new: New, channels: int) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (2, 9, 11, channels), dtype=np.uint8)
    for image, frame in zip(new()(frames)[0], frames, strict=True):
        assert np.array_equal(pixels(image).reshape(frame.shape), frame)


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((1, 8, 8, 3), np.float32),
        np.zeros((1, 8, 8, 2), np.uint8),
        np.zeros((1, 3, 8, 8), np.uint8),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
        np.zeros((1, 0, 8, 3), np.uint8),
    ],
)
def test_frames_of_another_kind_are_an_internal_error_that_says_so(new: New, frames: Any) -> None:
    with pytest.raises(
        InternalError, match=rf"internal_error: frames: {re.escape(f'{frames.dtype} {list(frames.shape)}')}; uint8"
    ):
        new()(frames)
