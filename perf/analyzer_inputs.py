"""What perf_analyzer sends: public tensors by kind of request, and the file that it reads them from."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from perf.wanted import scene_png

TEXT = "text-to-image"
BASE64 = "image-to-image, base64"
URL = "image-to-image, URL"

KINDS = {"text": TEXT, "base64": BASE64, "url": URL}
"""By what they are called on the command line."""

SCENE = "scene.png"
_ROWS = 8


def input_rows(steps: int, size: str, host: str) -> dict[str, list[dict[str, Any]]]:
    """Some requests of each kind, as public tensors by name; perf_analyzer sends them in turn, again and again.

    Args:
        steps: denoising steps.
        size: of the images, "WxH".
        host: the root URL of a server that has `SCENE`.
    """
    images: dict[str, Callable[[int], str | None]] = {
        TEXT: lambda index: None,
        BASE64: lambda index: base64.b64encode(scene_png()).decode(),
        URL: lambda index: f"{host}/{SCENE}?{index}",
    }
    return {kind: [_row(index, steps, size, image(index)) for index in range(_ROWS)] for kind, image in images.items()}


def file_stem(kind: str) -> str:
    """For the names of files about a kind of request."""
    return re.sub(r"\W+", "-", kind).lower()


def write_input_data(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write `path` for perf_analyzer's `--input-data`; returns it."""
    data = [{name: {"content": [value], "shape": [1]} for name, value in row.items()} for row in rows]
    path.write_text(json.dumps({"data": data}) + "\n")
    return path


def _row(index: int, steps: int, size: str, image: str | None) -> dict[str, Any]:
    row = {"prompt": f"a large red heart, image {index}", "num_inference_steps": steps, "size": size, "seed": index}
    return row if image is None else {**row, "image": image}
