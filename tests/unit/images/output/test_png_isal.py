"""Every PNG decodes to the pixels it was made of, in Pillow and in libspng, whoever wrote it and however hard."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import numpy.typing as npt
import pyspng
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from imagegen.images.output.encode import encode
from imagegen.images.output.png_isal import write_png

Frame = npt.NDArray[np.uint8]
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
KINDS = ("noise", "smooth", "stripes", "flat")


def frame(height: int, width: int, channels: int, kind: str, seed: int) -> Frame:
    """An image of one kind; smooth ones in a random direction, so that both filters get their turn."""
    random = np.random.default_rng(seed)
    shape = (height, width, channels)
    if kind == "noise":
        made = random.integers(0, 256, shape)
    elif kind == "flat":
        made = np.broadcast_to(random.integers(0, 256, channels), shape)
    else:
        rows, columns = np.mgrid[0:height, 0:width]
        down, right = random.integers(0, 7, (2, channels))
        made = rows[:, :, None] * down + columns[:, :, None] * right
        made = made // 40 * 40 if kind == "stripes" else made + random.integers(0, 3, shape)
    result: Frame = (made % 256).astype(np.uint8)
    return result


def check(png: bytes, pixels: Frame) -> None:
    """Pillow and libspng see `pixels`, in the mode that fits; both verify the checksums."""
    with Image.open(io.BytesIO(png)) as image:
        assert image.mode == MODES[pixels.shape[2]]
        assert np.array_equal(np.asarray(image).reshape(pixels.shape), pixels)
    assert np.array_equal(pyspng.load(png).reshape(pixels.shape), pixels)


@given(
    height=st.integers(1, 1025),
    width=st.integers(1, 769),
    channels=st.sampled_from([1, 3, 4]),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**32 - 1),
    encoder=st.sampled_from(["auto", "pillow", "isal"]),
    compression=st.one_of(st.none(), st.integers(0, 100)),
)
@settings(max_examples=150, deadline=None, derandomize=True)
@example(1025, 769, 3, "smooth", 0, "isal", None)
@example(1025, 769, 4, "smooth", 1, "isal", None)
@example(1, 1, 1, "noise", 0, "isal", None)
@example(1, 769, 3, "noise", 0, "isal", None)
@example(1025, 1, 4, "noise", 0, "isal", None)
def test_random_frames_come_back_from_every_encoder_and_level(
    height: int, width: int, channels: int, kind: str, seed: int, encoder: str, compression: int | None
) -> None:
    pixels = frame(height, width, channels, kind, seed)
    check(encode(pixels, "png", compression, encoder), pixels)


@pytest.mark.parametrize("encoder", ["auto", "pillow", "isal"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_frame_comes_back_at_every_single_compression(encoder: str, channels: int) -> None:
    pixels = frame(19, 23, channels, "smooth", channels)
    for compression in (None, *range(101)):
        check(encode(pixels, "png", compression, encoder), pixels)


def filters(png: bytes) -> set[int]:
    """The filter types of the rows of an 8-bit RGB PNG with one IDAT chunk."""
    start = png.index(b"IDAT")
    (length,) = struct.unpack(">I", png[start - 4 : start])
    width, height = struct.unpack(">2I", png[16:24])
    return set(zlib.decompress(png[start + 4 : start + 4 + length])[:: 1 + 3 * width][:height])


def test_the_filter_goes_the_way_in_which_the_image_is_smoother() -> None:
    """With one filter for all images some were a third larger than Pillow's."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    columns, rows = np.repeat(noise[:1], 64, axis=0), np.repeat(noise[:, :1], 64, axis=1)
    assert filters(write_png(columns)) == {2}
    assert filters(write_png(rows)) == {1}
    check(write_png(columns), columns)
    check(write_png(rows), rows)


@pytest.mark.parametrize(
    ("channels", "encoder", "compression", "isal"),
    [
        (3, "auto", None, True),
        (3, "isal", None, True),
        (3, "pillow", None, False),
        (3, "auto", 10, False),
        (3, "isal", 10, False),
        (1, "auto", None, False),
        (4, "auto", None, False),
        (1, "isal", None, True),
        (4, "isal", None, True),
    ],
)
def test_the_writer_of_each_kind_of_png(channels: int, encoder: str, compression: int | None, isal: bool) -> None:
    pixels = frame(64, 64, channels, "noise", 3)
    assert (encode(pixels, "png", compression, encoder) == write_png(pixels)) is isal


def test_a_frame_that_is_a_view_of_any_strides_is_written() -> None:
    frames = np.stack([frame(33, 40, 4, "smooth", seed) for seed in (1, 2)])
    view = frames[1, ::-1, 3:, 2::-1]
    check(write_png(view), np.ascontiguousarray(view))


def test_a_machine_without_isal_takes_pillow() -> None:
    config = {"parameters": {"png_encoder": {"string_value": "isal"}}}
    program = (
        "import sys; sys.modules['isal'] = None\n"
        "import numpy as np\n"
        "from imagegen.images.output.encode import encode\n"
        "from imagegen.images.output.settings import OutputSettings\n"
        "from imagegen.triton.parameters import read_parameters\n"
        "assert encode(np.zeros((8, 8, 3), np.uint8), 'png', None).startswith(b'\\x89PNG')\n"
        "OutputSettings()\n"
        f"try: read_parameters('{json.dumps(config)}', OutputSettings)\n"
        "except ValueError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == (
        "parameter png_encoder: 'isal' is not allowed; it needs the package isal, which is not installed\n"
    ), done
