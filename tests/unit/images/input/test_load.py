"""From what a client sends to stacked pixels; all problems of a request in one response."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagegen.api.errors import ImageRejected
from imagegen.api.limits import RequestRules
from imagegen.images.input.errors import UrlNotAllowed
from imagegen.images.input.load import ImageLoader
from imagegen.images.input.settings import InputSettings
from tests.unit.images.input.loading import load_images

ANY_SIZE = RequestRules(granularity_px=1)

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
    loaded = load_images(loader, [data, text, b"data:image/png;base64," + text, url], None, None, ANY_SIZE)
    assert loaded.mask is None
    assert loaded.pixels.shape == (4, 6, 8, 3)
    assert loaded.pixels.dtype == np.uint8
    assert loaded.pixels.flags.c_contiguous
    for pixels in loaded.pixels:
        assert np.array_equal(pixels, np.asarray(image))


def test_images_keep_their_order_and_take_the_size_of_the_first(loader: ImageLoader, encoded: Write) -> None:
    sizes = {RED: (20, 10), GREEN: (30, 40), BLUE: (5, 5)}
    loaded = load_images(
        loader, [encoded(Image.new("RGB", size, colour)) for colour, size in sizes.items()], None, None, ANY_SIZE
    )
    assert loaded.pixels.shape == (3, 10, 20, 3)
    assert colours(loaded.pixels) == list(sizes)


def test_a_size_applies_to_images_and_mask(loader: ImageLoader, encoded: Write) -> None:
    mask = Image.new("L", (20, 10), 0)
    mask.paste(255, (0, 0, 10, 10))
    images = [encoded(Image.new("RGB", size, colour)) for size, colour in (((20, 10), RED), ((7, 9), BLUE))]
    loaded = load_images(loader, images, encoded(mask), (64, 32), ANY_SIZE)
    assert loaded.pixels.shape == (2, 32, 64, 3)
    assert colours(loaded.pixels) == [RED, BLUE]
    assert loaded.mask is not None
    assert loaded.mask.shape == (1, 32, 64)
    assert np.all(loaded.mask[:, :, :32] == 255)
    assert np.all(loaded.mask[:, :, 32:] == 0)


def test_resizing_is_lanczos(loader: ImageLoader, encoded: Write) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))
    expected = np.asarray(image.resize((12, 16), Image.Resampling.LANCZOS))
    assert np.array_equal(load_images(loader, [encoded(image)], None, (12, 16), ANY_SIZE).pixels[0], expected)


def test_a_mask_without_a_size_is_untouched(loader: ImageLoader, encoded: Write) -> None:
    mask = np.random.default_rng(0).integers(0, 256, (10, 20), dtype=np.uint8)
    loaded = load_images(loader, [encoded(Image.new("RGB", (20, 10)))], encoded(Image.fromarray(mask)), None, ANY_SIZE)
    assert loaded.mask is not None
    assert np.array_equal(loaded.mask, mask[np.newaxis])


@pytest.mark.parametrize("size", [None, (64, 64)])
def test_a_mask_of_another_size_is_refused(loader: ImageLoader, encoded: Write, size: tuple[int, int] | None) -> None:
    images = [encoded(Image.new("RGB", (20, 10))), encoded(Image.new("RGB", (10, 20)))]
    with pytest.raises(ImageRejected) as caught:
        load_images(loader, images, encoded(Image.new("L", (10, 20))), size, ANY_SIZE)
    assert str(caught.value) == (
        "image_rejected: mask: invalid_image: has 10x20 pixels but image[0] has 20x10; both must be equal"
    )
    assert caught.value.field == "mask"


def test_sizes_are_compared_as_a_viewer_shows_them(loader: ImageLoader, encoded: Write) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    image = encoded(Image.new("RGB", (20, 10)), "JPEG", exif=turned)
    loaded = load_images(loader, [image], encoded(Image.new("L", (10, 20))), None, ANY_SIZE)
    assert loaded.pixels.shape == (1, 20, 10, 3)


def test_empty_images_are_reported_with_the_others(loader: ImageLoader) -> None:
    with pytest.raises(ImageRejected) as caught:
        load_images(loader, [b"", b"zz*", b""], b"", None, ANY_SIZE)
    message = str(caught.value)
    assert message.startswith("image_rejected: image[0]: invalid_image: is empty; image[1]: invalid_image: is neither")
    assert message.endswith("; image[2]: invalid_image: is empty; mask: invalid_image: is empty")


@pytest.mark.parametrize("off", [{"url_cache_s": 0.0}, {"url_cache_bytes": 0}])
def test_a_cache_that_is_turned_off_keeps_nothing(
    off: dict[str, Any], encoded: Write, server: Any, no_metrics: Any
) -> None:
    loader = ImageLoader(InputSettings(allow_private_addresses=True, **off), no_metrics)
    url = server.serve("/a.png", encoded(Image.new("RGB", (8, 8), RED))).encode()
    for _ in range(2):
        assert colours(load_images(loader, [url], None, None, ANY_SIZE).pixels) == [RED]
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
        load_images(loader, images, encoded(Image.new("L", (8, 8)))[:50], None, ANY_SIZE)
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
    loader = ImageLoader(InputSettings(), no_metrics)
    url = server.serve("/a.png", encoded(Image.new("RGB", (8, 8)))).encode()
    with pytest.raises(ImageRejected, match=r"image\[0\]: url_not_allowed: "):
        load_images(loader, [url], None, None, ANY_SIZE)
    assert server.connections == 0
    loader.close()


def test_a_request_without_images_is_a_mistake_of_the_caller(loader: ImageLoader) -> None:
    with pytest.raises(ValueError, match="no images"):
        load_images(loader, [], None, None, ANY_SIZE)


@pytest.mark.parametrize("format_name", ["PNG", "WEBP"])
def test_an_animation_is_worth_a_warning(loader: ImageLoader, encoded: Write, format_name: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    options = {"save_all": True, "append_images": frames[1:], "lossless": True}
    loaded = load_images(
        loader, [encoded(GREEN_PIXELS), encoded(frames[0], format_name, **options)], None, None, ANY_SIZE
    )
    assert loaded.warnings == ("image[1]: has 3 frames; the first is used",)
    assert colours(loaded.pixels) == [GREEN, RED]


GREEN_PIXELS = Image.new("RGB", (8, 8), GREEN)


def test_input_files_are_kept_where_configured(encoded: Write, server: Any, no_metrics: Any, tmp_path: Path) -> None:
    folder = tmp_path / "inputs"
    settings = InputSettings(allow_private_addresses=True, input_save_path=str(folder))
    loader = ImageLoader(settings, no_metrics)
    files = {"PNG": encoded(GREEN_PIXELS), "JPEG": encoded(GREEN_PIXELS, "JPEG"), "WEBP": encoded(GREEN_PIXELS, "WEBP")}
    url = server.serve("/../../evil.php?x=/etc/passwd", files["WEBP"]).encode()
    server.responses["/../../evil.php"] = server.responses.pop("/../../evil.php?x=/etc/passwd")
    server.responses["/evil.php"] = server.responses["/../../evil.php"]
    loaded = load_images(
        loader, [files["PNG"], b"data:image/x;base64," + base64.b64encode(files["JPEG"]), url], None, None, ANY_SIZE
    )
    assert list(loaded.paths) == ["image[0]", "image[1]", "image[2]"]
    for path, (format_name, data) in zip(loaded.paths.values(), files.items(), strict=True):
        assert Path(path).read_bytes() == data
        assert Path(path).suffix == f".{format_name.lower()}"
        assert Path(path).parent == folder
    with pytest.raises(ImageRejected):
        load_images(loader, [b"no image", files["PNG"][:40]], None, None, ANY_SIZE)
    assert len(list(folder.iterdir())) == 3
    shutil.rmtree(folder)
    loaded = load_images(loader, [files["PNG"]], None, None, ANY_SIZE)
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
    assert load_images(loader, [url, encoded(GREEN_PIXELS)], None, None, ANY_SIZE).paths == {}


@pytest.mark.parametrize("format_name", ["PNG", "WEBP"])
def test_the_mask_can_be_where_the_first_image_is_transparent(
    loader: ImageLoader, encoded: Write, server: Any, format_name: str
) -> None:
    image = Image.new("RGBA", (16, 8), (*RED, 255))
    image.paste((0, 0, 0, 0), (0, 0, 8, 8))
    data = encoded(image, format_name, lossless=True) if format_name == "WEBP" else encoded(image)
    for source in (data, server.serve("/alpha", data).encode()):
        loaded = load_images(loader, [source, encoded(Image.new("RGB", (16, 8)))], b"alpha", None, ANY_SIZE)
        assert loaded.mask is not None
        assert loaded.mask.shape == (1, 8, 16)
        assert np.all(loaded.mask[:, :, :8] == 255)
        assert not loaded.mask[:, :, 8:].any()
        assert loaded.pixels.shape == (2, 8, 16, 3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_an_opaque_image_has_no_transparent_parts(loader: ImageLoader, encoded: Write, mode: str) -> None:
    assert (
        load_images(
            loader, [encoded(Image.new("RGBA", (8, 8), (*RED, 255)).convert(mode))], b"alpha", None, ANY_SIZE
        ).mask
        is None
    )


def test_a_bad_first_image_is_reported_once(loader: ImageLoader) -> None:
    with pytest.raises(ImageRejected) as refused:
        load_images(loader, [b"\x89PNG\r\n\x1a\n"], b"alpha", None, ANY_SIZE)
    assert str(refused.value).count("image[0]") == 1
    assert "mask" not in str(refused.value)


def test_a_wrong_type_is_worth_a_warning(loader: ImageLoader, encoded: Write, server: Any) -> None:
    image = Image.new("RGB", (8, 8), GREEN)
    png, jpeg = encoded(image), encoded(image, "JPEG")
    text = base64.b64encode(png)
    page = server.serve("/a", jpeg, Content_Type="text/html; charset=utf-8").encode()
    for _ in range(2):  # fetched and kept
        loaded = load_images(
            loader,
            [
                b"data:image/jpeg;base64," + text,
                b"data:application/octet-stream;base64," + text,
                b"data:;base64," + text,
                page,
                server.serve("/b", jpeg, Content_Type="image/jpg").encode(),
                server.serve("/c", png, Content_Type="binary/octet-stream").encode(),
                server.serve("/d", png).encode(),
                png,
            ],
            b"data:image/gif;base64," + base64.b64encode(encoded(image.convert("L"), "WEBP")),
            None,
            ANY_SIZE,
        )
        assert loaded.warnings == (
            "image[0]: was declared as image/jpeg but is a PNG file",
            "image[3]: was declared as text/html but is a JPEG file",
            "mask: was declared as image/gif but is a WEBP file",
        )
    assert server.count("/a") == 1
