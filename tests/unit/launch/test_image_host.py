"""Files of a folder are served over HTTP, quietly."""

from __future__ import annotations

import urllib.request
from pathlib import Path

import pytest

from imagegen.launch.image_host import image_host


def test_a_file_is_served_while_the_block_runs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").write_bytes(b"image")
    with image_host(tmp_path) as url:
        assert urllib.request.urlopen(f"{url}/a.png", timeout=60).read() == b"image"
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{url}/a.png", timeout=60)
    assert capfd.readouterr() == ("", "")
