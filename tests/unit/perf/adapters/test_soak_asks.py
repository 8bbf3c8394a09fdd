"""An outcome of a request is right or wrong by what was on offer, who cancelled it, and the image that is known."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from imagegen.api.errors import Cancelled, InternalError, InvalidArgument
from perf.adapters.soak_asks import ENDLESS_STEPS, Ask, Offer, Pixels, Wanted, fault, random_asks, random_wanted
from perf.adapters.soak_files import SoakFiles

FILES = SoakFiles(
    Path(), {f"s{n}": Path() for n in range(5)}, {f"m{n}": Path() for n in range(2)}, {"bad-half": Path()}, 1
)
PLAIN = Ask(Wanted(("s0",), (1.0,), "a star", 1, 2, 7.5))
CANCELLED = Ask(PLAIN.wanted, 0.1)
ENDLESS = Ask(Wanted(("s0",), (1.0,), "a star", 1, ENDLESS_STEPS, 7.5), 0.1)
IMAGE: Pixels = np.full((2, 2, 3), 100, np.uint8)
REFUSED = InvalidArgument("lora", "'s0' is not on offer")


@pytest.mark.parametrize(
    ("ask", "offer", "outcomes", "found"),
    [
        (PLAIN, Offer.ALL, [IMAGE], ""),
        (PLAIN, Offer.ALL, [IMAGE + 1], ""),
        (PLAIN, Offer.ALL, [IMAGE + 2], "another image, by 2 levels"),
        (PLAIN, Offer.ALL, [IMAGE - 2], "another image, by 2 levels"),
        (PLAIN, Offer.ALL, [], "0 outcomes"),
        (PLAIN, Offer.ALL, [IMAGE, Cancelled("x")], "2 outcomes"),
        (PLAIN, Offer.ALL, [REFUSED], "refused though all were on offer"),
        (PLAIN, Offer.ALL, [Cancelled("x")], "cancelled by nobody"),
        (PLAIN, Offer.ALL, [InternalError("x")], "InternalError"),
        (PLAIN, Offer.NOT_ALL, [IMAGE], "an image though not all were on offer"),
        (PLAIN, Offer.NOT_ALL, [REFUSED], ""),
        (PLAIN, Offer.NOT_ALL, [InvalidArgument("size", "odd")], "refused for another reason"),
        (PLAIN, Offer.NOT_ALL, [KeyError("s0")], "KeyError"),
        (PLAIN, Offer.CHANGED, [REFUSED], ""),
        (PLAIN, Offer.CHANGED, [IMAGE], ""),
        (PLAIN, Offer.CHANGED, [IMAGE + 9], "another image, by 9 levels"),
        (CANCELLED, Offer.ALL, [Cancelled("x")], ""),
        (CANCELLED, Offer.ALL, [IMAGE], ""),
        (ENDLESS, Offer.ALL, [Cancelled("x")], ""),
        (ENDLESS, Offer.ALL, [IMAGE], "an image though it was cancelled long before"),
    ],
)
def test_what_is_wrong(ask: Ask, offer: Offer, outcomes: list[Pixels | BaseException], found: str) -> None:
    said = fault(ask, offer, outcomes, IMAGE)
    assert said.startswith(found)
    assert bool(said) == bool(found)


def test_an_image_that_is_not_known_is_not_compared() -> None:
    assert fault(PLAIN, Offer.ALL, [IMAGE], None) == ""


def test_requests_are_of_all_kinds_and_come_from_the_seed() -> None:
    dice = random.Random(1)
    known = [random_wanted(dice, FILES) for _ in range(20)]
    asks = random_asks(dice, FILES, known, 500)
    assert {len(ask.wanted.loras) for ask in asks} >= {0, 1, 2}
    assert any(ask.endless for ask in asks)
    assert any(ask.cancel_after_s is not None and not ask.endless for ask in asks)
    assert all(ask.cancel_after_s is not None for ask in asks if ask.endless)
    assert any("bad-half" in ask.wanted.loras for ask in asks)
    assert any("nobody" in ask.wanted.loras for ask in asks)
    assert 250 < sum(ask.wanted in known for ask in asks) < 400
    assert all(len(ask.wanted.loras) == len(ask.wanted.scales) == len(set(ask.wanted.loras)) for ask in asks)
    again = random.Random(1)
    assert random_asks(again, FILES, [random_wanted(again, FILES) for _ in range(20)], 500) == asks
