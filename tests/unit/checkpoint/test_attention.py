"""What the denoiser is shown in training: attention as it is without, and a loss that falls where it looks right."""

from __future__ import annotations

import pytest
import torch

from checkpoint import attention, networks

HALF = torch.zeros(1, 3, 4, 4)
HALF[:, 0, :, :2] = 1  # the first thing stands on the left, the second on the right
HALF[:, 1, :, 2:] = 1
END = torch.tensor([10])


def test_watching_changes_neither_images_nor_weights() -> None:
    torch.manual_seed(0)
    unet = networks.make_unet()
    inputs = torch.randn(2, 4, 16, 16), torch.tensor([3, 900]), torch.randn(2, 77, 96)
    names = set(unet.state_dict())
    with torch.no_grad():
        plain = unet(*inputs).sample
        watched = attention.watch(unet)
        assert torch.allclose(unet(*inputs).sample, plain, atol=1e-5)
    assert set(unet.state_dict()) == names
    assert len(watched) == 7
    for each in watched:
        assert each.weights is not None
        assert each.weights.shape[-1] == 77
        assert torch.allclose(each.weights.sum(-1), torch.ones(()))


def looking_at(positions: list[int]) -> attention.WatchedAttention:
    """Four rows of four places each; a place of column c looks only at positions[c]."""
    each = attention.WatchedAttention()
    each.weights = torch.zeros(1, 2, 16, 77)
    for place in range(16):
        each.weights[:, :, place, positions[place % 4]] = 1
    return each


@pytest.mark.parametrize(
    ("positions", "right"),
    [
        ([12, 12, 13, 13], True),  # 12 and 15 hold the first thing, 13 and 16 the second
        ([12, 15, 16, 13], True),
        ([13, 13, 12, 12], False),
        ([11, 11, 11, 11], False),  # the third
        ([3, 3, 4, 4], False),  # before the end: words, of which nothing is asked
    ],
)
def test_the_loss_is_nothing_only_where_each_place_looks_at_its_thing(positions: list[int], right: bool) -> None:
    value = attention.loss([looking_at(positions)], HALF, END).item()
    assert value == pytest.approx(0, abs=2e-3) if right else value > 3


def test_where_nothing_stands_it_may_look_anywhere() -> None:
    assert attention.loss([looking_at([3, 3, 3, 3])], torch.zeros_like(HALF), END).item() == 0


def test_layers_of_any_size_count_alike() -> None:
    covers = HALF.repeat_interleave(4, -1).repeat_interleave(4, -2)
    assert attention.loss([looking_at([12, 12, 13, 13])], covers, END).item() == pytest.approx(0, abs=2e-3)
