"""Loads images to start from, and their mask, as most tests want them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imagegen.api.limits import RequestRules
from imagegen.api.tensors import Pixels
from imagegen.images.input.blobs import ImageBlobs
from imagegen.images.input.load import ImageLoader


@dataclass(frozen=True, eq=False)
class Loaded:
    """Images to start from.

    Attributes:
        pixels: uint8 RGB [N, H, W, 3].
        mask: uint8 [1, H, W], or None.
        warnings: for the client.
        paths: where the files are kept, by field.
    """

    pixels: Pixels
    mask: Pixels | None
    warnings: tuple[str, ...]
    paths: dict[str, str]


def load_images(
    loader: ImageLoader, images: Sequence[bytes], mask: bytes | None, size: tuple[int, int] | None, rules: RequestRules
) -> Loaded:
    """Load images, and a mask unless it is None."""
    loaded = loader.load(ImageBlobs(images, mask), size, rules)
    assert loaded.images.images is not None
    assert (loaded.images.references, loaded.images.controls) == ((), None)
    return Loaded(loaded.images.images, loaded.images.mask, loaded.warnings, loaded.paths)
