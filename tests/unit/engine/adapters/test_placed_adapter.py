"""An adapter on the device: it comes there when it is first asked for, once."""

from __future__ import annotations

import weakref

import torch

from imagegen.engine.adapters.adapter import Adapter, LowRank
from imagegen.engine.adapters.host_adapters import packed
from imagegen.engine.adapters.placed_adapter import PlacedAdapter


def test_parts_are_by_component_and_the_same_each_time() -> None:
    pair = LowRank(torch.ones(2, 4), torch.ones(4, 2))
    host = packed(Adapter("digest", {"unet": {"a": pair}, "text_encoder": {"b": pair}}), pinned=False)
    placed = PlacedAdapter(host, torch.device("cpu"))
    components = placed.components()
    assert {name: list(part.layers) for name, part in components.items()} == {"unet": ["a"], "text_encoder": ["b"]}
    assert placed.components()["unet"] is components["unet"]
    assert components["unet"].digest == "digest"


def test_the_hosts_copy_is_let_go_once_it_is_there() -> None:
    """What the host holds is bounded by its own cache."""
    host = packed(Adapter("digest", {"unet": {"a": LowRank(torch.ones(2, 4), torch.ones(4, 2))}}), pinned=False)
    seen, placed = weakref.ref(host), PlacedAdapter(host, torch.device("meta"))
    del host
    assert seen() is not None
    placed.components()
    assert seen() is None


def test_on_the_host_nothing_is_copied() -> None:
    host = packed(Adapter("digest", {"unet": {"a": LowRank(torch.ones(2, 4), torch.ones(4, 2))}}), pinned=False)
    down = PlacedAdapter(host, torch.device("cpu")).components()["unet"].layers["a"].down
    assert down.untyped_storage().data_ptr() == host.buffer.untyped_storage().data_ptr()


def test_elsewhere_all_of_it_goes_at_once() -> None:
    host = packed(Adapter("digest", {"unet": {"a": LowRank(torch.ones(2, 4), torch.ones(4, 2))}}), pinned=False)
    low_rank = PlacedAdapter(host, torch.device("meta")).components()["unet"].layers["a"]
    assert low_rank.down.device.type == low_rank.up.device.type == "meta"
    assert low_rank.down.shape == (2, 4)
