"""The part `png`: how long do PNG encoders take, and how large are their files? All take turns on the same images."""

from __future__ import annotations

import io
import statistics
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
from PIL import Image

from imagegen.images.output.encode import encode
from perf.png_images import IMAGES, Pixels
from perf.report import Section, Target, table
from perf.turns import take_turns

OURS = "ours (isal)"
SLOW, LEVEL_1 = "imageio default", "Pillow level 1"
TARGET_SIZE = (1280, 720)
TARGET_TIMES_FASTER, TARGET_BYTES = 10.0, 1.1


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        sizes: (width, height) in pixels of the images; `TARGET_SIZE` is among them.
        rounds: times that everything is encoded.
    """

    sizes: tuple[tuple[int, int], ...] = ((512, 512), TARGET_SIZE, (1024, 1024))
    rounds: int = 7


QUICK = Settings(sizes=(TARGET_SIZE,), rounds=1)


@dataclass(frozen=True)
class Encoded:
    """One encoder on one image.

    Attributes:
        ms: median milliseconds from the array to the bytes.
        file_bytes: length of the file.
        relative_bytes: the same over that of Pillow's level 1.
    """

    ms: float
    file_bytes: int
    relative_bytes: float


def _pillow(**options: int) -> Callable[[Pixels], bytes]:
    def write(pixels: Pixels) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG", **options)
        return buffer.getvalue()

    return write


def _ours(pixels: Pixels) -> bytes:
    return encode(pixels, "png", None)


ENCODERS: dict[str, Callable[[Pixels], bytes]] = {
    SLOW: lambda pixels: bytes(imageio.imwrite("<bytes>", pixels, extension=".png")),
    "Pillow default": _pillow(),
    LEVEL_1: _pillow(compress_level=1),
    "Pillow level 0": _pillow(compress_level=0),
    "Pillow Z_RLE": _pillow(compress_level=1, compress_type=zlib.Z_RLE),
    OURS: _ours,
}


def measure(settings: Settings, _: Path) -> Section:
    """Encode everything; needs no checkpoint and no server.

    Raises:
        ValueError: a file does not hold the pixels it was made of.
    """
    results: dict[str, dict[str, dict[str, Encoded]]] = {}
    for width, height in settings.sizes:
        for image, make in IMAGES.items():
            size = f"{width}x{height}"
            results.setdefault(size, {})[image] = _encode_all(make(width, height), f"{image}, {size}", settings.rounds)
    return section(settings, results)


def _encode_all(pixels: Pixels, title: str, rounds: int) -> dict[str, Encoded]:
    lengths = {}
    for name, encoder in ENCODERS.items():
        data = encoder(pixels)
        lengths[name] = len(data)
        if not np.array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels):
            raise ValueError(f"{name}, {title}: the file does not hold the pixels it was made of")
    ways = {name: lambda _, encoder=encoder: len(encoder(pixels)) for name, encoder in ENCODERS.items()}
    turns = take_turns(title, ways, rounds)
    return {
        name: Encoded(statistics.median(turn.ms for turn in turns[name]), length, length / lengths[LEVEL_1])
        for name, length in lengths.items()
    }


def section(settings: Settings, results: Mapping[str, Mapping[str, Mapping[str, Encoded]]]) -> Section:
    """What the report says about it; results come by size, image and encoder."""
    paragraphs = ["From an array uint8 [H, W, 3] to bytes; medians. In brackets: bytes over those of Pillow level 1."]
    for size, images in results.items():
        encoders = list(next(iter(images.values())))
        rows = [[encoder, *(_cell(row[encoder]) for row in images.values())] for encoder in encoders]
        paragraphs += [f"### {size}", table(("encoder", *images), rows)]
    at_target = results["{}x{}".format(*TARGET_SIZE)]
    targets = [
        Target(
            f"PNG, {image}: {TARGET_TIMES_FASTER:g} times as fast as {SLOW}, {TARGET_BYTES:g} of {LEVEL_1}'s bytes",
            f"{row[SLOW].ms / row[OURS].ms:.1f} times as fast, {row[OURS].relative_bytes:.2f} of the bytes",
            row[SLOW].ms >= TARGET_TIMES_FASTER * row[OURS].ms and row[OURS].relative_bytes <= TARGET_BYTES,
        )
        for image, row in at_target.items()
    ]
    return Section(
        title="PNG encoders",
        settings=settings,
        paragraphs=paragraphs,
        raw={
            "encoders": {
                size: {image: {name: asdict(one) for name, one in row.items()} for image, row in images.items()}
                for size, images in results.items()
            },
        },
        targets=targets,
        versions={"imageio": version("imageio")},
    )


def _cell(one: Encoded) -> str:
    return f"{one.ms:.1f} ms, {one.file_bytes / 1000:.0f} kB ({one.relative_bytes:.2f})"
