"""What is encoded, stored and failed is counted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from imagegen.api.errors import InvalidArgument, StorageFailed

FRAMES = np.random.default_rng(0).integers(0, 256, (3, 40, 56, 3), dtype=np.uint8)


def test_everything_is_counted(new: Callable[..., Any], tmp_path: Path) -> None:
    run = new(output_url=f"file://{tmp_path}", public_base_url="http://localhost")
    size = sum(map(len, run(FRAMES, output_format="jpeg")[0]))
    run(FRAMES, output_format="jpeg", response_format="url")
    (tmp_path / "users" / "bob").write_text("in the way")
    with pytest.raises(StorageFailed):
        run(FRAMES, response_format="url", user="bob")
    with pytest.raises(InvalidArgument):
        run(FRAMES, output_compression=101)
    assert run.totals() == {
        "images_total jpeg": 6,
        "image_bytes_total jpeg": 2 * size,
        "encode_seconds jpeg": 2,
        "encode_seconds png": 1,
        "store_seconds": 1,
        "failures_total storage_failed": 1,
        "failures_total invalid_argument": 1,
    }
