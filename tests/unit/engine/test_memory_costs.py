"""What one image takes is learnt by size, estimated from below beyond, and what can never fit is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from imagegen.api.errors import InvalidArgument
from imagegen.api.input_images import NO_IMAGES
from imagegen.api.request import ImageRequest
from imagegen.engine.memory_costs import MemoryCost, MemoryCosts, tells_memory
from imagegen.pipelines.checkpoint import IMAGE_TO_IMAGE, TEXT_TO_IMAGE
from imagegen.pipelines.plan import Plan, make_plan
from tests.unit.tiny_engine import SETTINGS, pipelines, tiny_engine

ROOM = 10**9


def plan(side: int, guidance: float = 5.0, task: str = TEXT_TO_IMAGE) -> Plan:
    request = ImageRequest("a cat", size=(side, side), guidance_scale=guidance)
    return replace(make_plan(request, NO_IMAGES, pipelines(), SETTINGS), task=task)


def cost(side: int, attention: int = 0) -> MemoryCost:
    """A text encoder; a denoiser that holds text states and, for each pixel, activations; a VAE that holds latents."""
    px = side * side
    return MemoryCost(50_000, 7_000 + 40 * px + attention * px**2, 1_000 + 60 * px, 1_000 + 2 * px)


def taught(*sides: int, attention: int = 0, room_bytes: int = ROOM) -> MemoryCosts:
    costs = MemoryCosts(TEXT_TO_IMAGE, (256, 256))
    for side in sides:
        costs.note(plan(side), cost(side, attention), room_bytes)
    return costs


def test_nothing_is_refused_before_anything_was_learnt() -> None:
    assert taught().expected_bytes(plan(64)) is None
    taught().check(plan(2048))


def test_the_stage_that_holds_the_most_decides() -> None:
    assert taught(16).expected_bytes(plan(16)) == 50_000
    assert cost(16).summary() == "an image takes 5e-05 GB at once, to encode"
    assert taught(64).expected_bytes(plan(64)) == 1_000 + 60 * 64**2
    assert cost(64, attention=1).summary() == "an image takes 0.0169 GB at once, to denoise"


@pytest.mark.parametrize("side", [16, 32, 64, 96, 128, 256, 1024])
def test_through_two_sizes_goes_a_straight_line_of_each_stage(side: int) -> None:
    assert taught(32, 128).expected_bytes(plan(side)) == pytest.approx(cost(side).peak_bytes, abs=1)


@pytest.mark.parametrize("sides", [(64,), (64, 128), (32, 64, 128)])
@pytest.mark.parametrize("attention", [0, 1])
def test_beyond_the_largest_size_it_is_a_lower_bound(sides: tuple[int, ...], attention: int) -> None:
    for side in (136, 256, 1024):
        expected_bytes = taught(*sides, attention=attention).expected_bytes(plan(side))
        assert expected_bytes is not None
        assert 0 < expected_bytes <= cost(side, attention).peak_bytes


def gigabytes(size: tuple[int, int], more: float = 0.0) -> MemoryCost:
    """Of an image of SDXL's kind, with so many more of workspace in each stage, by chance."""
    mp = size[0] * size[1] / 1e6
    stages = (1.5, 1.0 + 4.0 * mp + more, 0.5 + 3.5 * mp + more, 0.1)
    return MemoryCost(*(round(1e9 * stage) for stage in stages))


def measured(sizes: dict[tuple[int, int], float]) -> MemoryCosts:
    costs = MemoryCosts(TEXT_TO_IMAGE, (1024, 1024))
    for size, more in sizes.items():
        costs.note(replace(plan(64), size=size), gigabytes(size, more), 12 * ROOM)
    return costs


@pytest.mark.parametrize("noise", [(0.0, 0.3), (0.3, 0.0)])
def test_sizes_that_are_nearly_the_same_do_not_say_what_a_pixel_takes(noise: tuple[float, float]) -> None:
    """0.25 GB in 16,384 pixels were 48 GB at 2048x2048, and sizes that fit were refused for good."""
    costs = measured(dict(zip([(896, 1152), (1024, 1024)], noise, strict=True)))
    for side, least in ((256, 0), (512, 0), (1280, 5), (1536, 5), (2048, 5)):
        expected_bytes = costs.expected_bytes(plan(side))
        assert expected_bytes is not None
        assert least * ROOM <= expected_bytes <= gigabytes((side, side)).peak_bytes


@pytest.mark.parametrize("noise", [(0.3, 0.0, 0.3), (0.0, 0.3, 0.0), (0.0, 0.0, 0.3), (0.3, 0.3, 0.0)])
def test_from_sizes_far_apart_a_larger_one_is_told_whatever_lies_between(noise: tuple[float, ...]) -> None:
    costs = measured(dict(zip([(512, 512), (896, 1152), (1024, 1024)], noise, strict=True)))
    for side in (256, 768, 1280, 1536, 2048):
        assert costs.expected_bytes(plan(side)) == pytest.approx(gigabytes((side, side)).peak_bytes, rel=0.2)


def test_a_pixel_of_a_larger_image_takes_no_more_than_one_of_the_largest_that_was_seen() -> None:
    """Attention takes more, which a line through two sizes does not know: the estimate stays a lower bound."""
    assert taught(64, 128, attention=1).expected_bytes(plan(256)) == 4 * cost(128, attention=1).peak_bytes


@pytest.mark.parametrize("sizes", [[(832, 1216), (1216, 832)], [(1216, 832), (832, 1216)]])
@pytest.mark.parametrize("noise", [(0.0, 0.3), (0.3, 0.0)])
def test_of_two_shapes_of_as_many_pixels_the_smaller_peak_counts(
    sizes: list[tuple[int, int]], noise: tuple[float, float]
) -> None:
    costs = measured(dict(zip(sizes, noise, strict=True)))
    for size in sizes:
        assert costs.expected_bytes(replace(plan(64), size=size)) == gigabytes(size).peak_bytes


def test_from_one_size_only_what_decoding_adds_is_known_to_grow() -> None:
    assert taught(64).expected_bytes(plan(128)) == 4 * 58 * 64**2
    assert taught(16).expected_bytes(plan(24)) == 50_000, "a larger image takes no less"


def test_guidance_and_another_task_are_kept_apart_where_they_were_seen() -> None:
    costs = taught(64)
    assert costs.expected_bytes(plan(128, guidance=1.0)) == 2 * 58 * 64**2, "half as many rows take half or more"
    costs.note(plan(64, guidance=1.0), MemoryCost(1, 2, 3, 0), ROOM)
    assert costs.expected_bytes(plan(64, guidance=1.0)) == 3
    costs.note(plan(64, task=IMAGE_TO_IMAGE), MemoryCost(9, 8, 7, 0), ROOM)
    assert costs.expected_bytes(plan(64, task=IMAGE_TO_IMAGE)) == 9
    assert costs.expected_bytes(plan(128, task=IMAGE_TO_IMAGE)) == costs.expected_bytes(plan(128))
    unguided = MemoryCosts(TEXT_TO_IMAGE, (256, 256))
    unguided.note(plan(64, guidance=1.0), cost(64), ROOM)
    assert unguided.expected_bytes(plan(128)) == 4 * 58 * 64**2, "guidance takes no less"


def test_what_can_never_fit_is_refused_with_what_it_takes_and_what_there_is() -> None:
    needed_bytes = cost(1024).peak_bytes  # 63 MB
    costs = taught(64, 128, room_bytes=needed_bytes)
    costs.check(plan(1024))
    costs.check(plan(1144))  # within the margin
    with pytest.raises(InvalidArgument, match=r": size: .* 1152x1152 takes 0\.0796 GB .* has 0\.0629 GB .* 256x256"):
        costs.check(plan(1152))


def test_where_a_vae_decodes_in_pieces_nothing_is_refused() -> None:
    costs = MemoryCosts(TEXT_TO_IMAGE, (256, 256), tiles=True)
    costs.note(plan(64), cost(64), cost(64).peak_bytes)
    costs.check(plan(2048))


def test_the_most_room_that_was_seen_counts() -> None:
    """Rest grows with what caches hold, which may leave again."""
    costs = taught(64, room_bytes=ROOM)
    costs.note(plan(128), cost(128), 1)
    costs.check(plan(1024))


def test_on_a_cpu_nothing_is_learnt(caplog: pytest.LogCaptureFixture) -> None:
    assert not tells_memory(torch.device("cpu"))
    with caplog.at_level("INFO", "imagegen.engine.warm_up"), tiny_engine() as engine:
        engine.warm_up()
        assert engine._runner._memory_costs.expected_bytes(plan(64)) is None
    assert "warmed up" in caplog.text
    assert "takes" not in caplog.text
