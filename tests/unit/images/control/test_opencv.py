"""OpenCV brings no threads of its own."""

from __future__ import annotations

from imagegen.images.control.opencv import opencv


def test_it_works_on_the_callers_thread() -> None:
    assert opencv().getNumThreads() == 1
