"""Shows the denoiser, in training, where to look in the text.

Left to itself it finds out slowly which words belong to which place: in 13 000 steps it did not, and painted both of
two things in a mixture of their colours. So where a thing stands, attention is pulled towards the states that hold it
(see train_text). Nothing of this is in the weights' format: the trained UNet has diffusers' own attention.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention

from checkpoint.scenes import MOST_THINGS


class WatchedAttention:
    """Attention to the text as diffusers computes it; `weights` float [b, heads, queries, 77] are kept."""

    def __init__(self) -> None:
        self.weights: torch.Tensor | None = None

    def __call__(
        self, attn: Attention, hidden_states: torch.Tensor, encoder_hidden_states: torch.Tensor, **_: object
    ) -> torch.Tensor:
        """Queries float [b, queries, width] and text float [b, 77, text width] → float [b, queries, width]."""
        query, key, value = (
            layer(states).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for layer, states in (
                (attn.to_q, hidden_states),
                (attn.to_k, encoder_hidden_states),
                (attn.to_v, encoder_hidden_states),
            )
        )
        self.weights = (query @ key.transpose(-1, -2) * attn.scale).float().softmax(-1)
        mixed = (self.weights.to(value.dtype) @ value).transpose(1, 2).flatten(2)
        out: torch.Tensor = attn.to_out[0](mixed)
        return out


def watch(unet: UNet2DConditionModel) -> list[WatchedAttention]:
    """Have each attention to the text keep its weights."""
    processors = dict(unet.attn_processors)
    watched = {name: WatchedAttention() for name in processors if ".attn2." in name}
    unet.set_attn_processor({**processors, **watched})
    return list(watched.values())


def loss(watched: list[WatchedAttention], covers: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """How far from looking at a thing's states the places are where it stands: -log of the share of attention.

    Args:
        watched: after a forward.
        covers: float32 [b, 3, h, w] in 0..1, how much each thing covers each latent.
        ends: int64 [b], the position of each text's end token.
    """
    at = torch.arange(77, device=ends.device)
    turns = at[:, None] % MOST_THINGS == torch.arange(MOST_THINGS, device=ends.device)  # [77, 3]
    holds = ((at >= ends[:, None])[..., None] & turns).float()  # [b, 77, 3]
    total = covers.new_zeros(())
    for each in watched:
        assert each.weights is not None
        shrink = round((covers.shape[-2] * covers.shape[-1] / each.weights.shape[2]) ** 0.5)
        where = F.avg_pool2d(covers, shrink).flatten(2)  # [b, 3, queries]
        share = each.weights.mean(1) @ holds  # [b, queries, 3]
        missed = -(share.transpose(1, 2) + 1e-3).log()
        total = total + (missed * where).sum() / where.sum().clamp(min=1)
        each.weights = None
    return total / len(watched)
