"""From what a client sends to stacked pixels of one size; all problems of a request in one answer."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagegen.api.errors import ImageRejected
from imagegen.images.input.errors import UrlNotAllowed
from imagegen.images.input.load import ImageLoader
from imagegen.images.input.settings import LoadingSettings

Write = Callable[..., bytes]
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


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
    assert str(caught.value) == (
        "image_rejected: mask: invalid_image: has 10x20 pixels but image[0] has 20x10; both must be equal"
    )
    assert caught.value.field == "mask"


def test_sizes_are_compared_as_a_viewer_shows_them(loader: ImageLoader, encoded: Write) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    image = encoded(Image.new("RGB", (20, 10)), "JPEG", exif=turned)
    loaded = loader.load([image], encoded(Image.new("L", (10, 20))), None)
    assert loaded.pixels.shape == (1, 20, 10, 3)


def test_empty_images_are_reported_with_the_others(loader: ImageLoader) -> None:
    with pytest.raises(ImageRejected) as caught:
        loader.load([b"", b"zz*", b""], b"", None)
    message = str(caught.value)
    assert message.startswith("image_rejected: image[0]: invalid_image: is empty; image[1]: invalid_image: is neither")
    assert message.endswith("; image[2]: invalid_image: is empty; mask: invalid_image: is empty")


@pytest.mark.parametrize("off", [{"url_cache_s": 0.0}, {"url_cache_bytes": 0}])
def test_a_cache_that_is_turned_off_keeps_nothing(
    off: dict[str, Any], encoded: Write, server: Any, no_metrics: Any
) -> None:
    loader = ImageLoader(LoadingSettings(allow_private_addresses=True, **off), no_metrics)
    url = server.serve("/a.png", encoded(Image.new("RGB", (8, 8), RED))).encode()
    for _ in range(2):
        assert colours(loader.load([url], None, None).pixels) == [RED]
    assert len(server.requests) == 2
    loader.close()


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
        f"image_rejected: image[0]: {UrlNotAllowed()}"
        "; image[2]: fetch_failed: status 410"
        "; image[3]: unsupported_media_type: is in the HTML format; accepted formats are PNG, JPEG, WEBP"
        "; image[4]: too_large: has 1000x1000 pixels; a side is at most 16384 and width x height at most 100000"
        "; mask: invalid_image: is a damaged or incomplete PNG file"
    )
    assert caught.value.field == "image[0]"
    assert caught.value.http_status == 400


def test_private_addresses_are_refused_by_default(encoded: Write, server: Any, no_metrics: Any) -> None:
    loader = ImageLoader(LoadingSettings(), no_metrics)
    url = server.serve("/a.png", encoded(Image.new("RGB", (8, 8)))).encode()
    with pytest.raises(ImageRejected, match=r"image\[0\]: url_not_allowed: "):
        loader.load([url], None, None)
    assert server.connections == 0
    loader.close()


def test_a_request_without_images_is_a_mistake_of_the_caller(loader: ImageLoader) -> None:
    with pytest.raises(ValueError, match="no images"):
        loader.load([], None, None)


# --- shaping ---


@pytest.fixture
def shaping_loader(no_metrics: Any) -> Iterator[ImageLoader]:
    """With a granularity of 8 and low caps."""
    loader = ImageLoader(LoadingSettings(max_side_px=64, max_area_px=64 * 32), no_metrics)
    yield loader
    loader.close()


@pytest.mark.parametrize(
    ("original", "shaped"),
    [
        ((40, 24), (40, 24)),
        ((41, 30), (40, 24)),  # down to the granularity
        ((128, 64), (64, 32)),  # into the caps
        ((64, 64), (40, 40)),  # into the area: 45 x 45 rounded down
        ((5, 5), (8, 8)),
        ((3000, 3), (64, 8)),
    ],
)
def test_size_auto_is_that_of_the_first_image(
    shaping_loader: ImageLoader, encoded: Write, original: tuple[int, int], shaped: tuple[int, int]
) -> None:
    others = [Image.new("RGB", size, GREEN) for size in ((100, 20), (8, 8))]
    images = [Image.new("RGB", original, RED), *others]
    loaded = shaping_loader.load([encoded(image) for image in images], encoded(Image.new("L", original)), None)
    assert loaded.pixels.shape == (3, shaped[1], shaped[0], 3)
    assert loaded.mask is not None
    assert loaded.mask.shape == (1, shaped[1], shaped[0])
    assert colours(loaded.pixels) == [RED, GREEN, GREEN]


def stripes(width: int, height: int) -> Image.Image:
    """Red, green and blue, from left to right."""
    image = Image.new("RGB", (width, height), GREEN)
    image.paste(RED, (0, 0, width // 3, height))
    image.paste(BLUE, (width - width // 3, 0, width, height))
    return image


def test_proportions_are_kept_and_the_middle_too(loader: ImageLoader, encoded: Write) -> None:
    """Of three stripes beside each other the middle one fills a square; the mask is cut in the same way."""
    mask = Image.new("L", (96, 32), 0)
    mask.paste(255, (32, 0, 64, 32))
    images = [encoded(stripes(96, 32)), encoded(stripes(48, 16)), encoded(stripes(32, 96))]
    loaded = loader.load(images, encoded(mask), (16, 16))
    for pixels in loaded.pixels[:2]:
        assert np.all(pixels[:, 3:-3] == GREEN)  # at the edges the filter mixes some of the neighbours in
        assert pixels[:, :, 1].min() > 127
    assert np.all(loaded.pixels[2, :, 0] == RED)
    assert np.all(loaded.pixels[2, :, 15] == BLUE)
    assert loaded.mask is not None
    assert np.all(loaded.mask == 255)


def test_the_mask_stays_on_its_part_of_the_image(loader: ImageLoader, encoded: Write) -> None:
    image = Image.new("RGB", (90, 60), (0, 0, 0))
    image.paste((255, 255, 255), (40, 20, 70, 50))
    loaded = loader.load([encoded(image)], encoded(image.convert("L")), (32, 64))
    assert loaded.mask is not None
    bright = loaded.pixels[0, :, :, 0] > 127
    assert (bright != (loaded.mask[0] > 127)).mean() < 0.02
    assert set(np.unique(loaded.mask)) == {0, 255}


# --- what the client is told, and what is kept ---


@pytest.mark.parametrize("format_name", ["PNG", "WEBP"])
def test_an_animation_is_worth_a_warning(loader: ImageLoader, encoded: Write, format_name: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    options = {"save_all": True, "append_images": frames[1:], "lossless": True}
    loaded = loader.load([encoded(GREEN_PIXELS), encoded(frames[0], format_name, **options)], None, None)
    assert loaded.warnings == ("image[1]: has 3 frames; the first is used",)
    assert colours(loaded.pixels) == [GREEN, RED]


GREEN_PIXELS = Image.new("RGB", (8, 8), GREEN)


def test_originals_are_kept_where_configured(encoded: Write, server: Any, no_metrics: Any, tmp_path: Path) -> None:
    folder = tmp_path / "inputs"
    settings = LoadingSettings(allow_private_addresses=True, input_save_path=str(folder))
    loader = ImageLoader(settings, no_metrics)
    files = {"PNG": encoded(GREEN_PIXELS), "JPEG": encoded(GREEN_PIXELS, "JPEG"), "WEBP": encoded(GREEN_PIXELS, "WEBP")}
    url = server.serve("/../../evil.php?x=/etc/passwd", files["WEBP"]).encode()
    server.answers["/../../evil.php"] = server.answers.pop("/../../evil.php?x=/etc/passwd")
    server.answers["/evil.php"] = server.answers["/../../evil.php"]
    loaded = loader.load([files["PNG"], b"data:image/x;base64," + base64.b64encode(files["JPEG"]), url], None, None)
    assert list(loaded.paths) == ["image[0]", "image[1]", "image[2]"]
    for path, (format_name, data) in zip(loaded.paths.values(), files.items(), strict=True):
        assert Path(path).read_bytes() == data
        assert Path(path).suffix == f".{format_name.lower()}"
        assert Path(path).parent == folder
    with pytest.raises(ImageRejected):
        loader.load([b"no image", files["PNG"][:40]], None, None)
    assert len(list(folder.iterdir())) == 3
    shutil.rmtree(folder)
    loaded = loader.load([files["PNG"]], None, None)
    assert loaded.paths == {}
    assert loaded.warnings == ("image[0]: could not be kept by the server",)
    loader.close()


def test_nothing_is_written_by_default(
    loader: ImageLoader, encoded: Write, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError(f"opened {args}")

    for name in ("open", "mkdir", "replace"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr("builtins.open", refuse)
    url = server.serve("/a.png", encoded(GREEN_PIXELS)).encode()
    assert loader.load([url, encoded(GREEN_PIXELS)], None, None).paths == {}


class Numbers:
    """A metrics backend that a test can read, by name and labels."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], float] = {}
        self.observed: dict[str, int] = {}

    def __call__(self, family: Any, labels: dict[str, str]) -> Any:
        key = family.name.removeprefix("imagegen_preprocess_"), ",".join(labels.values())
        numbers = self

        class Series:
            def increment(self, value: float) -> None:
                numbers.values[key] = numbers.values.get(key, 0) + value

            def set(self, value: float) -> None:
                numbers.values[key] = value

            def observe(self, value: float) -> None:
                numbers.observed[key[0]] = numbers.observed.get(key[0], 0) + 1

        return Series()


def test_what_is_loaded_and_refused_is_counted(encoded: Write, server: Any) -> None:
    numbers = Numbers()
    loader = ImageLoader(LoadingSettings(allow_private_addresses=True, granularity_px=1), numbers)
    data = encoded(GREEN_PIXELS)
    url = server.serve("/a.png", data).encode()
    busy = iter([503, 200])
    server.answers["/busy.png"] = lambda handler: server.serve("/x", data, next(busy)) and server.answers["/x"](handler)
    loader.load([data, base64.b64encode(data), b"data:image/png;base64," + base64.b64encode(data), url], data, None)
    loader.load([url, (server.url + "/busy.png").encode()], None, None)
    bad = [b"file:///x", f"{server.url}/gone".encode(), b"GIF89a", data[:50], b"http://127.0.0.1:1/"]
    with pytest.raises(ImageRejected):
        loader.load(bad, None, None)
    loader.close()
    images = {source: numbers.values["images_total", source] for source in ("file", "base64", "data_url", "url")}
    assert images == {"file": 3, "base64": 1, "data_url": 1, "url": 3}
    assert numbers.values["image_bytes_total", "url"] == 3 * len(data)
    assert numbers.values["failures_total", "url_not_allowed"] == 1
    assert numbers.values["failures_total", "invalid_image"] == 1
    assert numbers.values["failures_total", "unsupported_media_type"] == 1
    assert numbers.values["failures_total", "fetch_failed"] == 2
    assert numbers.values["cache_hits_total", ""] == 1
    assert numbers.values["cache_misses_total", ""] == 4
    assert 2 * len(data) < numbers.values["cache_bytes", ""] < 2 * len(data) + 2000
    assert numbers.values["downloads_in_flight", ""] == 0
    assert numbers.observed == {"fetch_seconds": 4, "decode_seconds": 7}


@pytest.mark.parametrize("format_name", ["PNG", "WEBP"])
def test_the_mask_can_be_where_the_first_image_is_transparent(
    loader: ImageLoader, encoded: Write, server: Any, format_name: str
) -> None:
    image = Image.new("RGBA", (16, 8), (*RED, 255))
    image.paste((0, 0, 0, 0), (0, 0, 8, 8))
    data = encoded(image, format_name, lossless=True) if format_name == "WEBP" else encoded(image)
    for source in (data, server.serve("/alpha", data).encode()):
        loaded = loader.load([source, encoded(Image.new("RGB", (16, 8)))], b"alpha", None)
        assert loaded.mask is not None
        assert loaded.mask.shape == (1, 8, 16)
        assert np.all(loaded.mask[:, :, :8] == 255)
        assert not loaded.mask[:, :, 8:].any()
        assert loaded.pixels.shape == (2, 8, 16, 3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_an_opaque_image_has_no_transparent_parts(loader: ImageLoader, encoded: Write, mode: str) -> None:
    assert loader.load([encoded(Image.new("RGBA", (8, 8), (*RED, 255)).convert(mode))], b"alpha", None).mask is None


def test_a_bad_first_image_is_reported_once(loader: ImageLoader) -> None:
    with pytest.raises(ImageRejected) as refused:
        loader.load([b"\x89PNG\r\n\x1a\n"], b"alpha", None)
    assert str(refused.value).count("image[0]") == 1
    assert "mask" not in str(refused.value)
