"""A frame lies on its canvas, or is refused."""

from __future__ import annotations

import pytest

from imagegen.images.input.parts import check_frame


@pytest.mark.parametrize(
    ("size", "offset", "fits"),
    [
        ((8, 8), (0, 0), True),
        ((1, 1), (7, 7), True),
        ((3, 8), (5, 0), True),
        ((9, 8), (0, 0), False),
        ((1, 1), (8, 0), False),
        ((4, 4), (0, 5), False),
        ((0, 4), (0, 0), False),
        ((4, 0), (0, 0), False),
    ],
)
def test_a_frame_of_nothing_or_beyond_the_canvas_is_refused(
    size: tuple[int, int], offset: tuple[int, int], fits: bool
) -> None:
    refusal = ""
    try:
        check_frame(size, offset, (8, 8))
    except ValueError as error:
        refusal = str(error)
    assert refusal == ("" if fits else f"a frame of {size} at {offset} does not fit in (8, 8)")
