"""From what a client sends to stacked pixels; all problems of a request in one answer."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from imagegen.errors import ImageRejected
from load import ImageLoader
from loading_settings import LoadingSettings

Write = Callable[..., bytes]
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture
def loader() -> Iterator[ImageLoader]:
    """May reach the loopback server."""
    loader = ImageLoader(LoadingSettings(allow_private_addresses=True, max_image_pixels=100_000))
    yield loader
    loader.close()


def colours(pixels: Any) -> list[tuple[int, ...]]:
    """The colour of the middle of each image of [N, H, W, 3]."""
    return [tuple(image[image.shape[0] // 2, image.shape[1] // 2].tolist()) for image in pixels]


def test_every_source_gives_the_same_pixels(loader: ImageLoader, encoded: Write, server: Any) -> None:
    image = Image.fromarray(np.arange(8 * 6 * 3, dtype=np.uint8).reshape(6, 8, 3))
    data = encoded(image)
    text = base64.b64encode(data)
    url = server.serve("/a.png", data).encode()
    loaded = loader.load([data, text, b"data:image/png;base64," + text, url], None, None)
    assert loaded.mask is None
    assert loaded.pixels.shape == (4, 6, 8, 3)
    assert loaded.pixels.dtype == np.uint8
    assert loaded.pixels.flags.c_contiguous
    for pixels in loaded.pixels:
        assert np.array_equal(pixels, np.asarray(image))


def test_images_keep_their_order_and_take_the_size_of_the_first(loader: ImageLoader, encoded: Write) -> None:
    sizes = {RED: (20, 10), GREEN: (30, 40), BLUE: (5, 5)}
    loaded = loader.load([encoded(Image.new("RGB", size, colour)) for colour, size in sizes.items()], None, None)
    assert loaded.pixels.shape == (3, 10, 20, 3)
    assert colours(loaded.pixels) == list(sizes)


def test_a_size_applies_to_images_and_mask(loader: ImageLoader, encoded: Write) -> None:
    mask = Image.new("L", (20, 10), 0)
    mask.paste(255, (0, 0, 10, 10))
    images = [encoded(Image.new("RGB", size, colour)) for size, colour in (((20, 10), RED), ((7, 9), BLUE))]
    loaded = loader.load(images, encoded(mask), (64, 32))
    assert loaded.pixels.shape == (2, 32, 64, 3)
    assert colours(loaded.pixels) == [RED, BLUE]
    assert loaded.mask is not None
    assert loaded.mask.shape == (1, 32, 64)
    assert np.all(loaded.mask[:, :, :32] == 255)
    assert np.all(loaded.mask[:, :, 32:] == 0)


def test_resizing_is_lanczos(loader: ImageLoader, encoded: Write) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))
    expected = np.asarray(image.resize((12, 16), Image.Resampling.LANCZOS))
    assert np.array_equal(loader.load([encoded(image)], None, (12, 16)).pixels[0], expected)


def test_a_mask_without_a_size_is_untouched(loader: ImageLoader, encoded: Write) -> None:
    mask = np.random.default_rng(0).integers(0, 256, (10, 20), dtype=np.uint8)
    loaded = loader.load([encoded(Image.new("RGB", (20, 10)))], encoded(Image.fromarray(mask)), None)
    assert loaded.mask is not None
    assert np.array_equal(loaded.mask, mask[np.newaxis])


@pytest.mark.parametrize("size", [None, (64, 64)])
def test_a_mask_of_another_size_is_refused(loader: ImageLoader, encoded: Write, size: tuple[int, int] | None) -> None:
    images = [encoded(Image.new("RGB", (20, 10))), encoded(Image.new("RGB", (10, 20)))]
    with pytest.raises(ImageRejected) as caught:
        loader.load(images, encoded(Image.new("L", (10, 20))), size)
    assert str(caught.value) == ("image_rejected: mask: has 10x20 pixels but image[0] has 20x10; both must be equal")
    assert caught.value.field == "mask"


def test_sizes_are_compared_as_a_viewer_shows_them(loader: ImageLoader, encoded: Write) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    image = encoded(Image.new("RGB", (20, 10)), "JPEG", exif=turned)
    loaded = loader.load([image], encoded(Image.new("L", (10, 20))), None)
    assert loaded.pixels.shape == (1, 20, 10, 3)


def test_all_problems_are_reported_together(loader: ImageLoader, encoded: Write, server: Any) -> None:
    images = [
        b"ftp://example.com/a.png",
        encoded(Image.new("RGB", (8, 8))),
        server.serve("/gone.png", b"", 410).encode(),
        server.serve("/page.png", b"<html>").encode(),
        encoded(Image.new("RGB", (1000, 1000))),
    ]
    with pytest.raises(ImageRejected) as caught:
        loader.load(images, encoded(Image.new("L", (8, 8)))[:50], None)
    assert str(caught.value) == (
        "image_rejected: image[0]: has the URL scheme 'ftp'; allowed are http, https and data:image/...;base64,"
        "; image[2]: could not be fetched: status 410"
        "; image[3]: is in the HTML format; accepted formats are PNG, JPEG, WEBP"
        "; image[4]: has 1000x1000 pixels; a side is at most 16384 and width x height at most 100000"
        "; mask: is a damaged or incomplete PNG file"
    )
    assert caught.value.field == "image[0]"
    assert caught.value.http_status == 400


def test_private_addresses_are_refused_by_default(encoded: Write, server: Any) -> None:
    loader = ImageLoader(LoadingSettings())
    url = server.serve("/a.png", encoded(Image.new("RGB", (8, 8)))).encode()
    with pytest.raises(ImageRejected, match=r"image\[0\]: could not be fetched: the address is not allowed"):
        loader.load([url], None, None)
    assert server.connections == 0
    loader.close()


def test_the_images_of_a_request_are_loaded_at_once(loader: ImageLoader, encoded: Write, server: Any) -> None:
    """The server answers none of the requests before all of them have arrived."""
    data = encoded(Image.new("RGB", (8, 8), RED))
    together = threading.Barrier(6, timeout=30)

    def answer(handler: Any) -> None:
        together.wait()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    server.answers["/a.png"] = answer
    url = (server.url + "/a.png").encode()
    assert colours(loader.load([url] * 5, url, None).pixels) == [RED] * 5


def test_more_requests_than_threads_finish(encoded: Write) -> None:
    """A pool of one thread serves many requests of several images at once: nothing waits inside the pool."""
    loader = ImageLoader(LoadingSettings(fetch_threads=1))
    images = [encoded(Image.new("RGB", (8, 8), colour)) for colour in (RED, GREEN, BLUE)]
    with ThreadPoolExecutor(8) as callers:
        requests = [callers.submit(loader.load, images, images[0], (16, 16)) for _ in range(40)]
        for request in requests:
            assert colours(request.result().pixels) == [RED, GREEN, BLUE]
    loader.close()


def test_a_request_without_images_is_a_mistake_of_the_caller(loader: ImageLoader) -> None:
    with pytest.raises(ValueError, match="no images"):
        loader.load([], None, None)


# --- hostile bytes ---

_SMALL = LoadingSettings(max_image_pixels=10_000, max_image_bytes=100_000, fetch_threads=1)


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
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    if draw(st.booleans()):
        del data[draw(st.integers(0, len(data))) :]
    return base64.b64encode(data) if draw(st.booleans()) else bytes(data)


@pytest.fixture(scope="module")
def guarded_loader() -> Iterator[ImageLoader]:
    """With small limits, and without access to any network the tests could reach."""
    loader = ImageLoader(_SMALL)
    yield loader
    loader.close()


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # about what is damaged, for the log
@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    blob=st.one_of(
        damaged_files(), st.tuples(st.sampled_from(_PREFIXES), st.binary(max_size=60)).map(b"".join), st.binary()
    ),
    as_mask=st.booleans(),
)
def test_whatever_is_sent_gives_pixels_or_a_rejection(guarded_loader: ImageLoader, blob: bytes, as_mask: bool) -> None:
    images, mask = ([_FILES[0]], blob) if as_mask else ([blob], None)
    outcome: object
    try:
        outcome = guarded_loader.load(images, mask, (8, 8)).pixels.shape
    except ImageRejected as rejection:
        outcome = str(rejection)
    assert outcome == (1, 8, 8, 3) or str(outcome).startswith("image_rejected: ")
    assert " at 0x" not in str(outcome)
