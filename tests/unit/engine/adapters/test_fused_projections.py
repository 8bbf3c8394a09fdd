from __future__ import annotations

from typing import Any

import pytest
import torch

from imagegen.engine.adapters.adapter import LowRank
from imagegen.engine.adapters.fused_projections import moved_into_fused
from tests.unit import tiny_pipelines as tiny

SELF_ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn1"
CROSS_ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn2"


def random_pair(layer: Any, rank: int) -> LowRank:
    return LowRank(torch.randn(rank, layer.in_features), torch.randn(layer.out_features, rank))


def fused(pipeline: Any, component: str) -> dict[str, Any]:
    pipeline.fuse_qkv_projections() if component == "unet" else pipeline.transformer.fuse_qkv_projections()
    return dict(getattr(pipeline, component).named_modules())


def test_an_attention_that_is_not_fused_keeps_its_pairs() -> None:
    modules = dict(tiny.sd().unet.named_modules())
    layers = {f"{SELF_ATTENTION}.to_q": random_pair(modules[f"{SELF_ATTENTION}.to_q"], 2)}
    assert moved_into_fused(layers, modules) == layers


@pytest.mark.parametrize("parts", [("to_q", "to_k", "to_v"), ("to_v",), ("to_v", "to_q")])
def test_fused_self_attention_computes_what_the_separate_layers_would(parts: tuple[str, ...]) -> None:
    modules = fused(tiny.sd(), "unet")
    layers = {
        f"{SELF_ATTENTION}.{part}": random_pair(modules[f"{SELF_ATTENTION}.{part}"], rank)
        for rank, part in enumerate(parts, start=1)
    }
    other = {"conv_in": LowRank(torch.ones(1, 4, 3, 3), torch.ones(8, 1, 1, 1))}
    moved = moved_into_fused(layers | other, modules)
    assert moved.keys() == {f"{SELF_ATTENTION}.to_qkv", "conv_in"}
    pair = moved[f"{SELF_ATTENTION}.to_qkv"]
    hidden = torch.randn(3, pair.down.shape[1])
    whole = (hidden @ pair.down.T @ pair.up.T).chunk(3, dim=-1)
    for part, computed in zip(("to_q", "to_k", "to_v"), whole, strict=True):
        separate = layers.get(f"{SELF_ATTENTION}.{part}")
        expected = torch.zeros_like(computed) if separate is None else hidden @ separate.down.T @ separate.up.T
        torch.testing.assert_close(computed, expected)


def test_of_cross_attention_the_query_stays_alone() -> None:
    modules = fused(tiny.sdxl(), "unet")
    name = next(name for name in modules if name.endswith("attn2.to_kv")).removesuffix(".to_kv")
    layers = {f"{name}.{part}": random_pair(modules[f"{name}.{part}"], 2) for part in ("to_q", "to_k", "to_v")}
    moved = moved_into_fused(layers, modules)
    assert moved.keys() == {f"{name}.to_q", f"{name}.to_kv"}
    up, down = moved[f"{name}.to_kv"].up, moved[f"{name}.to_kv"].down
    key, value = (up @ down).chunk(2)
    torch.testing.assert_close(key, layers[f"{name}.to_k"].up @ layers[f"{name}.to_k"].down)
    torch.testing.assert_close(value, layers[f"{name}.to_v"].up @ layers[f"{name}.to_v"].down)


def test_the_added_projections_of_text_are_fused_too() -> None:
    modules = fused(tiny.flux(), "transformer")
    name = "transformer_blocks.0.attn"
    layers = {f"{name}.add_k_proj": random_pair(modules[f"{name}.add_k_proj"], 2)}
    moved = moved_into_fused(layers, modules)
    assert moved.keys() == {f"{name}.to_added_qkv"}
    product = (moved[f"{name}.to_added_qkv"].up @ moved[f"{name}.to_added_qkv"].down).chunk(3)
    torch.testing.assert_close(product[1], layers[f"{name}.add_k_proj"].up @ layers[f"{name}.add_k_proj"].down)
    assert not product[0].any()
    assert not product[2].any()


def test_a_pair_for_the_fused_layer_itself_is_added_to_what_is_moved() -> None:
    modules = fused(tiny.flux(), "transformer")
    name = "transformer_blocks.0.attn"
    own = random_pair(modules[f"{name}.to_qkv"], 2)
    query = random_pair(modules[f"{name}.to_q"], 3)
    moved = moved_into_fused({f"{name}.to_q": query, f"{name}.to_qkv": own}, modules)
    assert moved.keys() == {f"{name}.to_qkv"}
    pair = moved[f"{name}.to_qkv"]
    expected = own.up @ own.down
    expected[: query.up.shape[0]] += query.up @ query.down
    torch.testing.assert_close(pair.up @ pair.down, expected)
    assert pair.rank == 5
