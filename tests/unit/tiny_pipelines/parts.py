"""What tiny pipelines are made of: tokenizer, text encoders, VAE, all with the same random weights every time."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast, T5Config, T5EncoderModel

SIDE_PX = 32
WIDTH = 16  # of every text embedding
WORDS = [
    *("a", "red", "green", "blue", "small", "large", "cat", "dog", "boat", "tree", "house"),
    *("on", "under", "by", "the", "sea", "at", "night"),
]
_SPECIAL = ["<pad>", "<bos>", "<eos>", "<unk>"]
VOCABULARY = {word: number for number, word in enumerate(_SPECIAL + WORDS)}
_TEXT_TOKENS = 16


def tokenizer(length: int = _TEXT_TOKENS) -> Any:
    """One token a word or punctuation mark; `<bos> words <eos>`."""
    backend = Tokenizer(WordLevel(dict(VOCABULARY), unk_token="<unk>"))
    backend.pre_tokenizer = Whitespace()
    backend.post_processor = TemplateProcessing(single="<bos> $A <eos>", special_tokens=[("<bos>", 1), ("<eos>", 2)])
    special = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}
    tokenizer_type: Any = PreTrainedTokenizerFast
    made = tokenizer_type(tokenizer_object=backend, model_max_length=length, **special)
    made.padding_side = "right"
    made.chat_template = (
        "{% for message in messages %}{% if message['content'] is string %}{{ message['content'] }}{% else %}"
        "{{ message['content'][0]['text'] }}{% endif %}{% endfor %}"
    )
    return made


def seeded(model_type: Any, /, **config: Any) -> Any:
    """A model with the same random weights every time, and none of them zero: zeros would hide mistakes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model_type(**config).eval()
        for parameter in model.parameters():
            if parameter.ndim > 1 and not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
    return model


def clip(model_type: Any = CLIPTextModel) -> Any:
    return seeded(
        model_type,
        config=CLIPTextConfig(
            vocab_size=len(VOCABULARY),
            hidden_size=WIDTH,
            intermediate_size=WIDTH,
            projection_dim=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=_TEXT_TOKENS,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        ),
    )


def t5() -> Any:
    config = T5Config(
        vocab_size=len(VOCABULARY), d_model=WIDTH, d_kv=8, d_ff=WIDTH, num_layers=1, num_heads=2, pad_token_id=0
    )
    return seeded(T5EncoderModel, config=config)


def decoder_text_model(model_type: Any, config_type: Any, layers: int = 2) -> Any:
    config = config_type(
        vocab_size=len(VOCABULARY),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return seeded(model_type, config=config)


def kl_autoencoder(channels: int = 4, blocks: int = 2) -> Any:
    return seeded(
        AutoencoderKL,
        block_out_channels=(8,) * blocks,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        latent_channels=channels,
        norm_num_groups=2,
        sample_size=SIDE_PX,
        shift_factor=0.1,
        scaling_factor=0.6,
        use_quant_conv=True,
        use_post_quant_conv=True,
    )


def quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
