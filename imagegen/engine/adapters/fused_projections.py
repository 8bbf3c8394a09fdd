"""Moves pairs of attention's separate projections into the one that a fused attention computes.

After `fuse_qkv_projections` of diffusers the separate layers are still there, but nothing calls them: a pair on one of
them would have no effect.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import torch

from imagegen.engine.adapters.adapter import LowRank

_FUSED = {  # the fused layer's outputs are those of its parts, in this order
    "to_qkv": ("to_q", "to_k", "to_v"),
    "to_kv": ("to_k", "to_v"),
    "to_added_qkv": ("add_q_proj", "add_k_proj", "add_v_proj"),
}


def moved_into_fused(layers: Mapping[str, LowRank], modules: Mapping[str, Any]) -> dict[str, LowRank]:
    """The same adapter for a component some of whose attentions may be fused; exactly the same outputs.

    Args:
        layers: of the component, by name.
        modules: of the component, by name.
    """
    moved: dict[str, LowRank] = {}
    parts: dict[str, dict[str, LowRank]] = {}
    for name, layer in layers.items():
        parent, _, last = name.rpartition(".")
        target = _target(modules.get(parent), last)
        if target is None:
            moved[name] = layer
        else:
            parts.setdefault(f"{parent}.{target}", {})[last] = layer
    for name, pieces in parts.items():
        parent, _, target = name.rpartition(".")
        rows = {part: modules[f"{parent}.{part}"].out_features for part in _FUSED[target]}
        joined = _joined(pieces, rows)
        moved[name] = _sum(moved[name], joined) if name in moved else joined
    return moved


def _target(attention: Any, last: str) -> str | None:
    """The fused layer that computes what the separate one did; None when the separate one is in use."""
    if not getattr(attention, "fused_projections", False):
        return None
    return next((name for name, parts in _FUSED.items() if last in parts and hasattr(attention, name)), None)


def _joined(pieces: Mapping[str, LowRank], rows: Mapping[str, int]) -> LowRank:
    """One pair of the ranks' sum: downs stacked, each up in the rows of its part."""
    ranks = [piece.rank for piece in pieces.values()]
    up = torch.zeros(sum(rows.values()), sum(ranks))  # [rows of all parts, ranks of all pieces]
    first_rows = dict(zip(rows, accumulate(rows.values(), initial=0), strict=False))
    first_rank = 0
    for part, piece in pieces.items():
        first_row = first_rows[part]
        up[first_row : first_row + rows[part], first_rank : first_rank + piece.rank] = piece.up
        first_rank += piece.rank
    return LowRank(torch.cat([piece.down for piece in pieces.values()]), up)


def _sum(one: LowRank, other: LowRank) -> LowRank:
    return LowRank(torch.cat([one.down, other.down]), torch.cat([one.up, other.up], dim=1))
