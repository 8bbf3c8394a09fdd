"""Images to encode: a photo, what looks like one to an encoder, noise, and one colour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

Pixels = npt.NDArray[np.uint8]


def natural(width: int, height: int) -> Pixels:
    """The photo that comes with matplotlib (512x600, a portrait), fitted; what is larger is smooth."""
    path = Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")
    with Image.open(path) as photo:
        return np.asarray(ImageOps.fit(photo.convert("RGB"), (width, height), Image.Resampling.LANCZOS))


def photo_like(width: int, height: int) -> Pixels:
    """Noise with the falling spectrum of photos, alike in the three channels, and a little grain: sharp everywhere."""
    random = np.random.default_rng(0)
    down, right = np.meshgrid(np.fft.fftfreq(height) * height, np.fft.rfftfreq(width) * width, indexing="ij")
    amplitude = 1 / np.maximum(np.hypot(down, right), 1) ** 1.1
    shared = random.normal(size=(height, width))
    channels = []
    for _ in range(3):
        spectrum = np.fft.rfft2(0.8 * shared + 0.2 * random.normal(size=(height, width))) * amplitude
        channel = np.fft.irfft2(spectrum, (height, width))
        channels.append((channel - channel.mean()) / channel.std() * 48 + 128)
    grain = random.normal(size=(height, width, 3))
    pixels: Pixels = np.clip(np.rint(np.stack(channels, axis=-1) + grain), 0, 255).astype(np.uint8)
    return pixels


def noise(width: int, height: int) -> Pixels:
    """Every value as likely as any other: nothing to compress."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def flat(width: int, height: int) -> Pixels:
    """One colour."""
    return np.full((height, width, 3), (40, 90, 200), np.uint8)


IMAGES: dict[str, Callable[[int, int], Pixels]] = {
    "natural": natural,
    "photo-like": photo_like,
    "noise": noise,
    "flat": flat,
}
"""By name; each makes uint8 [height, width, 3] from width and height, always the same one."""
