"""A drain is announced in the run folder, and what is still open is counted there."""

from __future__ import annotations

import os
from pathlib import Path

from imagegen.triton.drain import OpenRequests, begin_drain, is_draining, open_requests


def test_a_mark_says_that_a_server_is_draining(tmp_path: Path) -> None:
    assert not is_draining(tmp_path)
    begin_drain(tmp_path)
    assert is_draining(tmp_path)


def test_open_requests_are_counted_until_they_have_their_response(tmp_path: Path) -> None:
    requests = OpenRequests()
    requests.change(+1)
    requests.show(tmp_path)
    assert open_requests(tmp_path) == 1
    requests.change(+1)
    assert open_requests(tmp_path) == 2
    requests.change(-1)
    requests.change(-1)
    assert open_requests(tmp_path) == 0


def test_processes_that_have_died_and_files_that_are_being_made_do_not_count(tmp_path: Path) -> None:
    (tmp_path / "4194305.open").write_bytes((7).to_bytes(8, "little"))  # above the largest process id of Linux
    (tmp_path / f"{os.getppid()}.open").write_bytes(b"")
    assert open_requests(tmp_path) == 0


def test_nothing_is_left_and_requests_may_still_end(tmp_path: Path) -> None:
    requests = OpenRequests()
    requests.show(tmp_path)
    requests.hide()
    requests.change(-1)
    assert list(tmp_path.iterdir()) == []
