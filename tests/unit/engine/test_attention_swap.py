"""Attention processors that one image installs are there for its own forwards, and gone while it waits."""

from __future__ import annotations

from typing import Any

from torch import nn

from imagegen.engine.attention_swap import AttentionSwap


class Attention(nn.Module):
    """A layer with a processor, as diffusers has them."""

    def __init__(self) -> None:
        super().__init__()
        self.processor: Any = "original"

    def set_processor(self, processor: Any) -> None:
        self.processor = processor


def test_what_an_image_installs_is_put_away_and_comes_back_for_its_forwards() -> None:
    first, second = Attention(), Attention()
    swap = AttentionSwap(nn.Sequential(first, nn.Identity(), second))
    first.set_processor("mine")
    swap.suspend()
    assert [first.processor, second.processor] == ["original", "original"]
    with swap.own():
        assert [first.processor, second.processor] == ["mine", "original"]
    assert first.processor == "original"
    swap.suspend()
    with swap.own():
        assert first.processor == "mine", "still, though nothing was installed since"


def test_restore_puts_the_originals_back() -> None:
    layer = Attention()
    swap = AttentionSwap(nn.Sequential(layer))
    layer.set_processor("mine")
    swap.restore()
    assert layer.processor == "original"
