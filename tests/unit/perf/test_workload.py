"""The users' requests have the promised mix, repeat, and are ones that the server takes."""

from __future__ import annotations

import io
import random
from collections import Counter
from dataclasses import replace

import pytest
from PIL import Image

from perf.workload import (
    IMAGE_TO_IMAGE,
    IMAGES_SHARES,
    INPAINTING,
    LONG_STEPS,
    SHORT_STEPS,
    SIZE_SHARES,
    TASK_SHARES,
    TEXT_TO_IMAGE,
    Request,
    random_request,
)

MANY = 5000


def requests(seed: int = 1) -> list[Request]:
    dice = random.Random(seed)
    return [random_request(dice) for _ in range(MANY)]


def test_the_mix_is_as_promised() -> None:
    everything = requests()
    for shares, found in (
        (TASK_SHARES, Counter(request.task for request in everything)),
        (SIZE_SHARES, Counter(request.size for request in everything)),
        (IMAGES_SHARES, Counter(request.n for request in everything)),
        ({SHORT_STEPS: 0.7, LONG_STEPS: 0.3}, Counter(request.num_inference_steps for request in everything)),
    ):
        assert sum(shares.values()) == pytest.approx(1)
        assert {key: count / MANY for key, count in found.items()} == pytest.approx(shares, abs=0.03)


def test_the_same_seed_gives_the_same_requests() -> None:
    assert requests(1) == requests(1) != requests(2)


def test_requests_repeat() -> None:
    most = Counter(alone for request in requests() for alone in request.each()).most_common(1)[0][1]
    assert most >= 10


def test_the_second_image_is_that_of_the_next_seed_alone() -> None:
    two = Request(TEXT_TO_IMAGE, (64, 64), SHORT_STEPS, 2, 7, "a star")
    assert two.seeds == (7, 8)
    assert two.each() == [Request(TEXT_TO_IMAGE, (64, 64), SHORT_STEPS, 1, seed, "a star") for seed in (7, 8)]


@pytest.mark.parametrize(
    ("task", "images"), [(TEXT_TO_IMAGE, set()), (IMAGE_TO_IMAGE, {"image"}), (INPAINTING, {"image", "mask"})]
)
def test_images_are_sent_where_the_task_needs_them(task: str, images: set[str]) -> None:
    values = Request(task, (96, 64), LONG_STEPS, 1, 0, "a star").values()
    assert set(values) == {"prompt", "size", "num_inference_steps", "n", "seed"} | images
    assert values["size"] == "96x64"
    for name in images:
        with Image.open(io.BytesIO(values[name])) as image:
            assert image.size == (128, 128)


def test_a_control_image_is_sent_where_there_is_one_and_told_apart_but_not_shown() -> None:
    plain = Request(TEXT_TO_IMAGE, (64, 64), SHORT_STEPS, 1, 0, "a star")
    controlled = replace(plain, control_image=b"a file")
    assert controlled.values() == plain.values() | {"control_image": b"a file"}
    assert controlled != plain
    assert "file" not in repr(controlled)


def test_short_and_long_requests_are_counted_apart() -> None:
    names = {Request(INPAINTING, (64, 64), steps, 1, 0, "").name for steps in (SHORT_STEPS, LONG_STEPS)}
    assert names == {"inpainting, short", "inpainting, long"}
