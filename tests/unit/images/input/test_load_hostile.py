"""Random and damaged files and strings: pixels or a clear rejection, in bounded memory."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from imagegen.api.errors import ImageRejected
from imagegen.api.limits import RequestRules
from imagegen.images.input.load import ImageLoader
from imagegen.images.input.settings import InputSettings
from tests.unit.images.input.loading import load_images

ANY_SIZE = RequestRules(granularity_px=1)

Write = Callable[..., bytes]
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


_SMALL = InputSettings(max_image_pixels=10_000, max_image_bytes=100_000, decode_threads=1, fetch_attempts=1)


def _samples() -> list[bytes]:
    files = []
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 4), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "I;16"):
        for format_name in ("PNG", "JPEG", "WEBP"):
            image = Image.fromarray(pixels)
            image = Image.new(mode, (10, 12), 7) if mode == "I;16" else image.convert(mode)
            file = io.BytesIO()
            try:
                image.save(file, format_name, exif=exif.tobytes())
            except (OSError, ValueError):  # not every format has every mode
                continue
            files.append(file.getvalue())
    return files


_FILES = _samples()
_CLEAR = re.compile(
    r"image_rejected: (image\[0\]|mask): "
    r"(invalid_image|too_large|unsupported_media_type|url_not_allowed|fetch_failed): \w(?!.* at 0x)"
)
_PREFIXES = [
    b"",
    b"data:image/png;base64,",
    b"data:image/",
    b"data:",
    b"http://[",
    b"https://\x00",
    b"file://",
    b"RIFF",
]


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    """A valid file with some bytes replaced, cut out or inserted, as bytes or base64."""
    data = bytearray(draw(st.sampled_from(_FILES)))
    for _ in range(draw(st.sampled_from([0, 1, 2, 6]))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    if draw(st.integers(0, 3)) == 0:
        del data[draw(st.integers(0, len(data))) :]
    return base64.b64encode(data) if draw(st.booleans()) else bytes(data)


@pytest.fixture(scope="module")
def strict_loader(no_metrics: Any) -> Iterator[ImageLoader]:
    """With small limits, and without access to any network the tests could reach."""
    loader = ImageLoader(_SMALL, no_metrics)
    yield loader
    loader.close()


_MOST_GROWTH_BYTES = 64 * 2**20  # the decoded limit is 40 kB an image; what allocators and codecs keep is far below


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # about what is damaged, for the log
def test_whatever_is_sent_gives_pixels_or_a_clear_rejection_in_bounded_memory(strict_loader: ImageLoader) -> None:
    process = psutil.Process()
    load_images(strict_loader, _FILES, None, (8, 8), ANY_SIZE)  # codecs are loaded on first use
    start_bytes = process.memory_info().rss
    outcomes = {"sent": 0, "pixels": 0, "rejected": 0}

    @settings(max_examples=2000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(
        blob=st.one_of(
            damaged_files(),
            damaged_files(),
            st.tuples(st.sampled_from(_PREFIXES), st.binary(max_size=60)).map(b"".join),
            st.binary(),
        ),
        as_mask=st.booleans(),
    )
    def check(blob: bytes, as_mask: bool) -> None:
        images, mask = ([_FILES[0]], blob) if as_mask else ([blob], None)
        try:
            loaded = load_images(strict_loader, images, mask, (8, 8), ANY_SIZE)
        except ImageRejected as rejection:
            outcomes["rejected"] += bool(_CLEAR.match(str(rejection)))
        else:
            outcomes["pixels"] += loaded.pixels.shape == (1, 8, 8, 3)
        outcomes["sent"] += 1
        assert outcomes["pixels"] + outcomes["rejected"] == outcomes["sent"]
        assert process.memory_info().rss - start_bytes < _MOST_GROWTH_BYTES

    check()
    assert outcomes["sent"] >= 2000
    assert min(outcomes.values()) > 100, outcomes  # both kinds of outcome occur
