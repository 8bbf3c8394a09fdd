"""A stream gets the progress of the slowest image, previews at even steps, and an end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from imagegen.api.events import Ended, Event, Preview, Progress
from imagegen.engine.progress import ProgressPublisher, preview_steps
from imagegen.pipelines.steps import Step


class Projected:
    """Stands in for a projection: pixels of one value, the latents."""

    def pixels(self, latents: Any, size: tuple[int, int]) -> Any:
        if latents is None:
            raise ValueError("no latents")
        return torch.full((2, 2, 3), latents, dtype=torch.uint8)


def publisher_of(count: int = 1, previews: int = 0, projection: Any = None) -> tuple[ProgressPublisher, list[Event]]:
    published: list[Event] = []
    return ProgressPublisher(count, (64, 32), previews, projection, published.append), published


def test_of_several_images_the_slowest_counts() -> None:
    publisher, published = publisher_of(count=2)
    for image_index, number in ((0, 1), (0, 2), (1, 1), (1, 2), (1, 3), (0, 3)):
        publisher.stepped(image_index, Step(number, 3, None))
    publisher.ended()
    assert published == [Progress(1, 3), Progress(2, 3), Progress(3, 3), Ended()]


def test_previews_carry_their_place_and_come_after_their_step() -> None:
    publisher, published = publisher_of(count=2, previews=2, projection=Projected())
    for number in range(1, 7):
        for image_index in (0, 1):
            publisher.stepped(image_index, Step(number, 6, 10 * number + image_index))
    previews = [event for event in published if isinstance(event, Preview)]
    shown = [(p.preview_index, p.image_index, int(p.pixels[0, 0, 0]), p.size) for p in previews]
    assert shown == [(0, 0, 20, (64, 32)), (0, 1, 21, (64, 32)), (1, 0, 40, (64, 32)), (1, 1, 41, (64, 32))]
    assert published.index(previews[1]) > published.index(Progress(2, 6))


def test_without_previews_the_latents_are_not_looked_at() -> None:
    for previews, projection in ((0, Projected()), (3, None)):
        publisher, published = publisher_of(previews=previews, projection=projection)
        for number in range(1, 9):
            publisher.stepped(0, Step(number, 8, None))
        assert len(published) == 8


def test_a_preview_that_fails_is_the_last_and_the_image_goes_on() -> None:
    publisher, published = publisher_of(previews=3, projection=Projected())
    for number in range(1, 9):
        publisher.stepped(0, Step(number, 8, None))
    assert published == [Progress(number, 8) for number in range(1, 9)]


@pytest.mark.parametrize("previews", range(4))
def test_preview_steps_are_even_and_never_the_last(previews: int) -> None:
    for total in range(1, 120):
        steps = preview_steps(total, previews)
        assert len(steps) == min(previews, total - 1)
        assert all(1 <= step < total for step in steps)
        gaps = np.diff([0, *steps, total])
        assert gaps.min() >= 1
        assert gaps.max() - gaps.min() <= 1


def test_whoever_follows_can_neither_end_the_image_nor_keep_its_end_back(caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: Event) -> None:
        raise RuntimeError("nobody listens")

    publisher = ProgressPublisher(1, (64, 32), 0, None, fail)
    publisher.stepped(0, Step(1, 1, None))
    publisher.ended()
    assert caplog.text.count("could not be published") == 2
