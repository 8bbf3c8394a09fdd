"""The health check's status says whether the server is ready."""

from __future__ import annotations

from pathlib import Path

from imagegen.launch.image_host import image_host
from imagegen.launch.ready import main


def test_the_status_is_0_only_for_a_server_that_is_ready(tmp_path: Path) -> None:
    with image_host(tmp_path) as url:
        assert main([url]) == 0
        assert main([f"{url}/missing"]) == 1
    assert main([url]) == 1
