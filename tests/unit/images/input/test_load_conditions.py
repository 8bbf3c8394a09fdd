"""References and control images are loaded in one pass with images and mask, under the same rules."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from imagegen.api.errors import ImageRejected, Unavailable
from imagegen.api.limits import Conditions, RequestLimits, RequestRules
from imagegen.images.input.blobs import ImageBlobs
from imagegen.images.input.load import ImageLoader
from imagegen.images.input.settings import InputSettings

ANY_SIZE = RequestRules(granularity_px=1)
Write = Callable[..., bytes]
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def middle(pixels: Any) -> tuple[int, ...]:
    return tuple(pixels[pixels.shape[0] // 2, pixels.shape[1] // 2].tolist())


def _of(kind: str, blobs: Sequence[bytes]) -> ImageBlobs:
    return ImageBlobs(references=blobs) if kind == "references" else ImageBlobs(controls=blobs)


def test_each_kind_comes_out_in_its_order(loader: ImageLoader, encoded: Write, server: Any) -> None:
    red, green, blue = (encoded(Image.new("RGB", (20, 12), colour)) for colour in (RED, GREEN, BLUE))
    url = server.serve("/green.png", green).encode()
    loaded = loader.load(ImageBlobs([red], None, [blue, url], [url, red, blue]), None, ANY_SIZE).images
    assert loaded.images is not None
    assert loaded.controls is not None
    assert loaded.mask is None
    assert [middle(pixels) for pixels in loaded.images] == [RED]
    assert [middle(pixels) for pixels in loaded.references] == [BLUE, GREEN]
    assert [middle(pixels) for pixels in loaded.controls] == [GREEN, RED, BLUE]
    assert server.count("/green.png") == 1


def test_references_alone_keep_their_sizes_whatever_is_asked_for(loader: ImageLoader, encoded: Write) -> None:
    files = [encoded(Image.new("RGB", size)) for size in ((7, 30), (100, 20))]
    for size in (None, (64, 64)):
        loaded = loader.load(ImageBlobs(references=files), size, ANY_SIZE).images
        assert [pixels.shape for pixels in loaded.references] == [(30, 7, 3), (20, 100, 3)]
        assert (loaded.images, loaded.controls) == (None, None)


@pytest.mark.parametrize(
    ("has_image", "size", "shape"),
    [(True, None, (16, 40, 3)), (False, None, (24, 24, 3)), (True, (8, 32), (32, 8, 3)), (False, (8, 32), (32, 8, 3))],
)
def test_controls_cover_the_output(
    loader: ImageLoader, encoded: Write, has_image: bool, size: tuple[int, int] | None, shape: tuple[int, ...]
) -> None:
    """Size auto is the image's, or without one the first control's."""
    images = [encoded(Image.new("RGB", (41, 20)))] if has_image else []
    controls = [encoded(Image.new("RGB", original)) for original in ((30, 30), (90, 10))]
    rules = RequestRules(granularity_px=8)
    loaded = loader.load(ImageBlobs(images, controls=controls), size, rules).images.controls
    assert loaded is not None
    assert loaded.shape == (2, *shape)


def test_a_control_of_other_proportions_is_cut_as_an_image_is(loader: ImageLoader, encoded: Write) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 90, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(pixels))
    loaded = loader.load(ImageBlobs([data], controls=[data]), (32, 32), ANY_SIZE).images
    assert loaded.images is not None
    assert loaded.controls is not None
    assert np.array_equal(loaded.images, loaded.controls)


def test_all_problems_of_all_fields_are_reported_together(loader: ImageLoader, encoded: Write, server: Any) -> None:
    good, small = (encoded(Image.new("RGB", size)) for size in ((64, 64), (8, 64)))
    rules = RequestRules(granularity_px=8, model="toy", conditions=Conditions(least_reference_px=16))
    gone = server.serve("/gone.png", b"", 410).encode()
    with pytest.raises(ImageRejected) as refused:
        loader.load(ImageBlobs([b"", good], small, [good, small, gone], [b"GIF89a", good]), None, rules)
    assert str(refused.value) == (
        "image_rejected: image[0]: invalid_image: is empty"
        "; reference_image[1]: invalid_image: has 8x64 pixels; each side is 16 or more for the model toy"
        "; reference_image[2]: fetch_failed: status 410"
        "; control_image[0]: unsupported_media_type: is in the GIF format; accepted formats are PNG, JPEG, WEBP"
    )
    assert refused.value.field == "image[0]"


def test_a_bad_reference_is_the_field_of_the_refusal(loader: ImageLoader, encoded: Write) -> None:
    with pytest.raises(ImageRejected) as refused:
        loader.load(ImageBlobs(references=[encoded(Image.new("L", (8, 8))), b"!"]), None, ANY_SIZE)
    assert refused.value.field == "reference_image[1]"


@pytest.mark.parametrize("kind", ["references", "controls"])
def test_warnings_and_kept_files_name_the_field(no_metrics: Any, encoded: Write, tmp_path: Path, kind: str) -> None:
    field = {"references": "reference_image[1]", "controls": "control_image[1]"}[kind]
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    animation = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    loader = ImageLoader(InputSettings(input_save_path=str(tmp_path)), no_metrics)
    files = [encoded(frames[0]), animation]
    loaded = loader.load(_of(kind, files), None, ANY_SIZE)
    assert loaded.warnings == (f"{field}: has 2 frames; the first is used",)
    assert [Path(path).read_bytes() for path in loaded.paths.values()] == files
    assert list(loaded.paths)[1] == field
    loader.close()


def test_sixteen_slow_hosts_cost_one_wait(loader: ImageLoader, encoded: Write, server: Any) -> None:
    """With those of controls too: the server responds to none of the requests before all have arrived."""
    data = encoded(Image.new("RGB", (8, 8), RED))
    url = server.serve_together("/a.png", data, 20)
    urls = [f"{url}?{index}".encode() for index in range(20)]
    loaded = loader.load(ImageBlobs(references=urls[:16], controls=urls[16:]), None, ANY_SIZE).images
    assert len(loaded.references) == 16
    assert loaded.control_count == 4


@pytest.mark.parametrize("kind", ["references", "controls"])
def test_their_urls_count_among_those_that_wait_for_the_network(
    no_metrics: Any, encoded: Write, server: Any, kind: str
) -> None:
    data = encoded(Image.new("RGB", (8, 8)))
    loader = ImageLoader(InputSettings(allow_private_addresses=True, max_url_requests=1), no_metrics)
    held, released = server.hold("/held.png", data)
    blobs = _of(kind, [held.encode()])
    waiting = threading.Thread(target=loader.load, args=(blobs, None, ANY_SIZE))
    waiting.start()
    server.wait_for_requests(1)
    with pytest.raises(Unavailable, match="overloaded"):
        loader.load(blobs, None, ANY_SIZE)
    released.set()
    waiting.join()
    loader.close()


@pytest.mark.parametrize("kind", ["references", "controls"])
def test_private_addresses_are_refused_by_default(no_metrics: Any, server: Any, kind: str) -> None:
    loader = ImageLoader(InputSettings(), no_metrics)
    with pytest.raises(ImageRejected, match=r"_image\[0\]: url_not_allowed"):
        loader.load(_of(kind, [f"{server.url}/a.png".encode()]), None, ANY_SIZE)
    assert server.connections == 0
    loader.close()


def test_sixteen_large_references_are_scaled_down_to_the_limits(loader: ImageLoader, encoded: Write) -> None:
    rules = RequestRules(limits=RequestLimits(max_side_px=64, max_area_px=64 * 32))
    files = [encoded(Image.new("RGB", (300, 100 + index))) for index in range(16)]
    loaded = loader.load(ImageBlobs(references=files), None, rules).images
    assert all(max(pixels.shape) <= 64 for pixels in loaded.references)
