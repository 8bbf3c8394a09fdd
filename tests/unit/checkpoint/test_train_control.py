"""The control model: what it is trained on, that training changes weights, and that what ships makes images follow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel
from safetensors.torch import load_file

from checkpoint import BUNDLED, CONTROLS, evaluate, evaluate_control, train_control, training_loop

LARGEST_BYTES = 3_000_000


def test_batches_are_a_function_of_the_step() -> None:
    first, again, next_one = (train_control.batch(step) for step in (1, 1, 2))
    assert all(torch.equal(one, other) for one, other in zip(first[:2], again[:2], strict=True))
    assert first[2] == again[2]
    assert first[0].shape != next_one[0].shape
    images, lines, captions = first
    assert images.shape == lines.shape == (len(captions), 3, 64, 64)
    assert set(lines.flatten().tolist()) == {0, 1}
    assert 0 < lines.mean() < 0.2


def test_an_untrained_control_model_fits_the_denoiser_and_changes_nothing() -> None:
    pipeline = evaluate.load(BUNDLED)
    control = train_control.make(pipeline.unet)
    assert torch.equal(control.conv_in.weight, pipeline.unet.conv_in.weight)
    noise = torch.Generator().manual_seed(0)
    latents, text = torch.randn(1, 4, 16, 24, generator=noise), torch.randn(1, 77, 96, generator=noise)
    with torch.no_grad():
        down, middle = control(latents, 500, text, torch.ones(1, 3, 64, 96), return_dict=False)
        plain = pipeline.unet(latents, 500, text).sample
        guess = pipeline.unet(
            latents, 500, text, down_block_additional_residuals=down, mid_block_additional_residual=middle
        ).sample
    assert torch.equal(plain, guess)


def test_training_writes_a_small_model_in_half_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_control, "_BATCHES", ((32, 4),))
    monkeypatch.setattr(training_loop, "ramp_and_cosine", lambda peak, step, steps: peak)  # no ramp in three steps
    once, twice = (train_control.train(tmp_path / folder, steps=3) for folder in ("once", "twice"))
    assert once == pytest.approx(twice, rel=1e-2)  # torch rounds by where in memory a tensor lies
    assert (tmp_path / "once" / "control_loss.csv").read_text().startswith("step,running_loss,seconds\n")
    file = tmp_path / "once" / "edges" / "diffusion_pytorch_model.safetensors"
    assert file.stat().st_size < LARGEST_BYTES
    weights = load_file(file)
    assert {weight.dtype for weight in weights.values()} == {torch.float16}
    assert all(weights[f"controlnet_down_blocks.{at}.weight"].any() for at in range(6))


def test_what_ships_is_small_and_is_what_the_code_makes() -> None:
    assert sum(file.stat().st_size for file in (CONTROLS / "edges").iterdir()) < LARGEST_BYTES
    shipped = ControlNetModel.from_pretrained(CONTROLS / "edges", torch_dtype=torch.float32)
    made = train_control.make(evaluate.load(BUNDLED).unet)
    assert {key: value.shape for key, value in shipped.state_dict().items()} == {
        key: value.shape for key, value in made.state_dict().items()
    }


def test_images_follow_the_edges_that_they_are_given() -> None:
    pipeline = evaluate_control.load(BUNDLED, CONTROLS / "edges")
    scenes = evaluate_control.unseen(4)
    captions = [scene.caption for scene in scenes]
    without, along = (
        evaluate_control.overlap(evaluate_control.follow(pipeline, scenes, captions, scale, steps=6), scenes)
        for scale in (0.0, 1.0)
    )
    assert along > without + 0.3
    assert along > 0.6


def test_the_vae_alone_keeps_the_edges() -> None:
    pipeline = evaluate_control.load(BUNDLED, CONTROLS / "edges")
    painted = evaluate_control.unseen(4)
    shown = evaluate_control.through_vae(pipeline, painted)
    assert evaluate_control.overlap(shown, painted) > 0.85
    assert np.mean([np.abs(a.astype(int) - b.image).mean() for a, b in zip(shown, painted, strict=True)]) < 10
