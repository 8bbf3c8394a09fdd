"""What took the engine down twice is refused for a while, by content, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from imagegen.api.errors import InvalidArgument
from imagegen.api.input_images import InputImages
from imagegen.api.request import ImageRequest
from imagegen.engine.worker.poison_list import Asked, PoisonList


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def poison(clock: Clock) -> PoisonList:
    return PoisonList(clock)


def asked(prompt: str = "a", pixel: int | None = None, **request: object) -> Asked:
    images = None if pixel is None else np.full((1, 8, 8, 3), pixel, np.uint8)
    return ImageRequest(prompt=prompt, **request), InputImages(images)  # type: ignore[arg-type]


def refused(poison: PoisonList, one: Asked) -> bool:
    try:
        poison.check(one)
    except InvalidArgument:
        return True
    return False


def test_the_third_try_of_one_that_was_alone_is_refused_with_the_reason(poison: PoisonList) -> None:
    poison.check(asked())
    poison.note([asked()])
    poison.check(asked())
    poison.note([asked()])
    with pytest.raises(InvalidArgument, match=r"generated 2 times when the engine broke down; .* another 600 s"):
        poison.check(asked())
    for other in (asked("b"), asked(num_inference_steps=3), asked(pixel=1), asked(seeds=(1,))):
        poison.check(other)


def test_among_others_one_that_is_repeated_with_its_seed_is_found(poison: PoisonList) -> None:
    for number in range(2):
        poison.note([asked(seeds=(1,)), asked("popular"), asked("other", seeds=(number + 10,))])
    assert refused(poison, asked(seeds=(1,)))
    assert not refused(poison, asked("popular")), "without a seed it is another one each time"
    assert not refused(poison, asked("other", seeds=(10,)))


def test_of_several_that_were_there_twice_none_is_blamed(poison: PoisonList) -> None:
    both = [asked(seeds=(1,)), asked(seeds=(2,))]
    for _ in range(5):
        poison.note(both)
    assert not any(refused(poison, one) for one in both)
    poison.note(both[:1])
    assert [refused(poison, one) for one in both] == [True, False]


def test_what_succeeds_is_cleared(poison: PoisonList) -> None:
    poison.clear(asked())
    poison.note([asked()])
    poison.clear(asked())
    poison.note([asked()])
    assert not refused(poison, asked())


def test_the_same_request_twice_in_one_end_counts_once(poison: PoisonList) -> None:
    poison.note([asked(), asked()])
    poison.check(asked())


def test_images_count_by_their_pixels(poison: PoisonList) -> None:
    for _ in range(2):
        poison.note([asked(pixel=7)])
    with pytest.raises(InvalidArgument):
        poison.check(asked(pixel=7))
    poison.check(asked(pixel=8))


def test_it_is_forgotten_after_ten_minutes(poison: PoisonList, clock: Clock) -> None:
    for _ in range(2):
        poison.note([asked()])
    clock.now_s += 599
    with pytest.raises(InvalidArgument, match="another 1 s"):
        poison.check(asked())
    clock.now_s += 2
    poison.check(asked())
    poison.note([asked()])
    poison.check(asked())


def test_no_more_than_a_thousand_are_remembered(poison: PoisonList) -> None:
    for _ in range(2):
        poison.note([asked()])
    poison.note(asked(f"{number}", seeds=(1,)) for number in range(1000))
    poison.check(asked())
