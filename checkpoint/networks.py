"""The checkpoint's parts, untrained: tokenizer, text encoder, VAE, denoiser, scheduler."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from checkpoint.captions import vocabulary

NATIVE_PX = 128
LATENT_PX = 4
"""Pixels to a latent, along a side."""
_TEXT_WIDTH = 96
_START, _END = "<|startoftext|>", "<|endoftext|>"


def make_tokenizer(words: Sequence[str] | None = None) -> CLIPTokenizer:
    """CLIP's byte-pair tokenizer: each of `words` is one token, any other text splits into bytes.

    Args:
        words: those of the captions' grammar, unless said.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    # GPT-2's byte alphabet: unprintable bytes are shown as characters from 256 on.
    letters = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    merges: list[tuple[str, str]] = []
    for word in vocabulary() if words is None else words:
        pieces = _split(word, merges)
        while len(pieces) > 1:
            merges.append((pieces[0], pieces[1]))
            pieces = _split(word, merges)
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges), _START, _END]
    ids = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocab=ids, merges=merges, model_max_length=77)  # type: ignore[arg-type]  # pairs are meant


def save_tokenizer(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Save it with the two plain files that transformers 5 leaves out and earlier ones read."""
    tokenizer.save_pretrained(folder)
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False))
    pairs = [pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *pairs, ""]))


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Two causal layers of width 96: 0.3 million parameters.

    Words start much larger than positions, so that all of them are told apart from the start.
    """
    encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=_TEXT_WIDTH,
            intermediate_size=4 * _TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    torch.nn.init.normal_(encoder.get_parameter("embeddings.token_embedding.weight"), std=0.1)
    return encoder


def text_ends(encoder: CLIPTextModel, tokens: torch.Tensor) -> torch.Tensor:
    """Where each text ends: int64 [b], the position of the first end token in token ids int64 [b, 77]."""
    end = encoder.config.eos_token_id
    assert isinstance(end, int)
    return tokens.eq(end).int().argmax(1)


def make_vae() -> AutoencoderKL:
    """A latent of 4 channels for each 4x4 pixels.

    An 8x8 patch in 4 numbers blurs small shapes (a third of those in 64-pixel images were lost); 4x4 does not.
    No attention in the middle: it would cost most of the time at 256 pixels. One normalisation group: with more,
    flat colours are normalised away. It starts with nearly noiseless latents and residual blocks that do nothing,
    which halves the time to the first recognisable images.
    """
    vae = AutoencoderKL(
        block_out_channels=(16, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=1,
        latent_channels=4,
        mid_block_add_attention=False,
        sample_size=NATIVE_PX,
        scaling_factor=1.0,
    )
    with torch.no_grad():
        vae.quant_conv.weight[:4] *= 3
        vae.quant_conv.bias[4:] = -6
        for name, module in vae.named_modules():
            if name.endswith("conv2"):
                module.weight.zero_()
                module.bias.zero_()
    return vae


def make_unet() -> UNet2DConditionModel:
    """Convolutions on every latent, attention to the text on every 2x2 and 4x4 of them.

    The text also reaches every block as a whole, pooled and added to the embedding of the timestep: what a caption
    says of the whole image is learned far sooner that way. All of it is in what StableDiffusionPipeline passes.
    """
    return UNet2DConditionModel(
        sample_size=NATIVE_PX // LATENT_PX,
        block_out_channels=(32, 64, 128),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=_TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
        resnet_time_scale_shift="scale_shift",
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
    )


def make_scheduler() -> DDIMScheduler:
    """v-prediction on cosine betas, steps taken from the end: 8 to 20 of them are enough."""
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,
    )


def fold_statistics(vae: AutoencoderKL, mean: torch.Tensor, std: torch.Tensor) -> None:
    """Make the latents have mean 0 and deviation 1 in every channel, by changing the 1x1 convolutions beside them.

    Args:
        vae: changed in place; its scaling_factor stays 1.
        mean: float32 [4], of the latents so far.
        std: float32 [4].
    """
    with torch.no_grad():
        quant, post = vae.quant_conv, vae.post_quant_conv
        quant.weight[:4] /= std.view(4, 1, 1, 1)
        quant.bias[:4] = (quant.bias[:4] - mean) / std
        quant.bias[4:] -= 2 * std.log()  # the other half is the logarithm of the variance
        post.bias += (post.weight * mean.view(1, 4, 1, 1)).sum(1).flatten()
        post.weight *= std.view(1, 4, 1, 1)


def _split(word: str, merges: list[tuple[str, str]]) -> list[str]:
    pieces = [*word[:-1], word[-1] + "</w>"]
    for first, second in merges:  # in order of rank, as byte-pair encoding applies them
        at = 0
        while at < len(pieces) - 1:
            if (pieces[at], pieces[at + 1]) == (first, second):
                pieces[at : at + 2] = [first + second]
            at += 1
    return pieces
