"""The report of `perf.png`."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from perf.report import surroundings_section, table

DEFAULT = "ours (isal)"
TARGET_SIZE = "1280x720"
TARGET_TIMES_FASTER = 10.0
TARGET_BYTES = 1.1
TARGET_COUNTS = 2.5

_SLOW = "imageio default"
_LEVEL_1 = "Pillow level 1"


@dataclasses.dataclass(frozen=True)
class Sample:
    """One image, encoded once.

    Attributes:
        encoder: its name.
        image: name of the kind of image.
        size: "WxH" in pixels.
        milliseconds: from the array to the bytes.
        file_bytes: length of the file.
    """

    encoder: str
    image: str
    size: str
    milliseconds: float
    file_bytes: int


@dataclasses.dataclass(frozen=True)
class Cell:
    """One encoder on one image: median milliseconds, bytes of the file, and these over those of Pillow's level 1."""

    milliseconds: float
    file_bytes: int
    relative_bytes: float


def cells(samples: Sequence[Sample]) -> dict[str, dict[str, dict[str, Cell]]]:
    """By size, image and encoder, each in order of first appearance."""
    times: dict[tuple[str, str, str], list[float]] = {}
    file_bytes: dict[tuple[str, str, str], int] = {}
    for sample in samples:
        key = sample.size, sample.image, sample.encoder
        times.setdefault(key, []).append(sample.milliseconds)
        file_bytes[key] = sample.file_bytes
    result: dict[str, dict[str, dict[str, Cell]]] = {}
    for (size, image, encoder), milliseconds in times.items():
        length = file_bytes[size, image, encoder]
        relative = length / file_bytes[size, image, _LEVEL_1]
        cell = Cell(statistics.median(milliseconds), length, relative)
        result.setdefault(size, {}).setdefault(image, {})[encoder] = cell
    return result


def png_report(
    surroundings: Mapping[str, Any],
    parameters: Mapping[str, Any],
    samples: Sequence[Sample],
    counted_s: Mapping[int, Sequence[float]],
) -> tuple[str, dict[str, Any]]:
    """The report as Markdown, and all of it with the single samples as JSON values.

    Args:
        surroundings: of `perf.surroundings`.
        parameters: of the measurement.
        samples: all encoders on all images; `TARGET_SIZE` is among the sizes.
        counted_s: seconds to encode n images of 1024x1024 as one request's, by n; 1 and 4 are among them.
    """
    by_size = cells(samples)
    sections = ["# PNG encoders", surroundings_section(surroundings, parameters)]
    sections.append("From an array uint8 [H, W, 3] to bytes; medians. In brackets: bytes over those of Pillow level 1.")
    for size, images in by_size.items():
        encoders = list(next(iter(images.values())))
        rows = [[encoder, *(_shown(row[encoder]) for row in images.values())] for encoder in encoders]
        sections.append(f"## {size}, ms and kB\n\n" + table(("encoder", *images), rows))
    targets = []
    for image, row in by_size[TARGET_SIZE].items():
        faster = row[_SLOW].milliseconds / row[DEFAULT].milliseconds
        relative = row[DEFAULT].relative_bytes
        reached = f"{faster:.1f} times as fast, {relative:.2f} of the bytes"
        met = faster >= TARGET_TIMES_FASTER and relative <= TARGET_BYTES
        targets.append((f"{image}, {TARGET_SIZE}", reached, _verdict(met)))
    count_ms = {count: statistics.median(seconds) * 1000 for count, seconds in counted_s.items()}
    factor = count_ms[4] / count_ms[1]
    reached = f"{count_ms[1]:.1f} ms for 1, {count_ms[4]:.1f} ms for 4: {factor:.2f} times"
    targets.append(("images of one request, 1024x1024", reached, _verdict(factor < TARGET_COUNTS)))
    sections.append(
        f"## Targets\n\n{DEFAULT} at least {TARGET_TIMES_FASTER:g} times as fast as {_SLOW}, with at most"
        f" {TARGET_BYTES:g} of the bytes of {_LEVEL_1}; 4 images of a request in less than {TARGET_COUNTS:g} times"
        " the time of 1.\n\n" + table(("", "reached", "target"), targets)
    )
    raw = {
        "surroundings": surroundings,
        "parameters": parameters,
        "sample_columns": [field.name for field in dataclasses.fields(Sample)],
        "samples": [dataclasses.astuple(sample) for sample in samples],
        "counted_s": counted_s,
    }
    return "\n\n".join(sections) + "\n", raw


def _shown(cell: Cell) -> str:
    return f"{cell.milliseconds:.1f} ms, {cell.file_bytes / 1000:.0f} kB ({cell.relative_bytes:.2f})"


def _verdict(met: bool) -> str:
    return "met" if met else "NOT met"
