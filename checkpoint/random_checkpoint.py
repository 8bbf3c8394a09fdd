"""Makes a tiny Stable Diffusion checkpoint with random weights, in diffusers' folder format.

It generates coloured noise, in milliseconds a step on a CPU: enough to run the whole server offline. The same seed
gives the same weights.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import diffusers
import torch
import transformers
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from checkpoint.networks import make_tokenizer, save_tokenizer

_SEED = 2024
_TEXT_WIDTH = 32
_LATENT_SIDE = 16  # 128 pixels


def make_checkpoint(folder: Path) -> None:
    """Write the checkpoint to `folder`, which appears complete or not at all."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".checkpoint-") as scratch:
        made = Path(scratch) / "checkpoint"
        pipeline = random_pipeline()
        pipeline.save_pretrained(made)
        save_tokenizer(pipeline.tokenizer, made / "tokenizer")
        made.rename(folder)


def random_pipeline() -> StableDiffusionPipeline:
    """The pipeline with its random weights, in memory."""
    torch.manual_seed(_SEED)
    tokenizer = make_tokenizer(())
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=_TEXT_WIDTH,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=tokenizer.model_max_length,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    vae = AutoencoderKL(
        block_out_channels=(8, 16, 16, 32),
        norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        sample_size=_LATENT_SIDE * 8,
    )
    unet = UNet2DConditionModel(
        sample_size=_LATENT_SIDE,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=_TEXT_WIDTH,
        attention_head_dim=8,
        norm_num_groups=8,
    )
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(steps_offset=1, timestep_spacing="trailing", clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    if not (folder / "model_index.json").exists():
        make_checkpoint(folder)
        print(f"checkpoint with random weights: {folder}")


if __name__ == "__main__":
    main()
