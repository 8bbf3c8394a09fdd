"""A frame lies on its canvas, or is refused."""

from __future__ import annotations

import pytest

from imagegen.images.input.parts import check_frame


@pytest.mark.parametrize(("size", "offset"), [((8, 8), (0, 0)), ((1, 1), (7, 7)), ((3, 8), (5, 0))])
def test_a_frame_within_the_canvas_is_right(size: tuple[int, int], offset: tuple[int, int]) -> None:
    check_frame(size, offset, (8, 8))


@pytest.mark.parametrize(
    ("size", "offset"), [((9, 8), (0, 0)), ((1, 1), (8, 0)), ((4, 4), (0, 5)), ((0, 4), (0, 0)), ((4, 0), (0, 0))]
)
def test_a_frame_of_nothing_or_beyond_the_canvas_is_refused(size: tuple[int, int], offset: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"does not fit in \(8, 8\)"):
        check_frame(size, offset, (8, 8))
