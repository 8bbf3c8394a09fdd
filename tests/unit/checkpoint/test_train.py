"""Training that was interrupted goes on as if it had not been, and batches depend on seed and step alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from checkpoint import attention, networks, train_decoder, train_denoiser, train_text, train_vae
from checkpoint.train import Stage


def run(folder: Path, stop_before: int | None, monkeypatch: pytest.MonkeyPatch) -> tuple[bool, nn.ModuleDict]:
    """12 steps of a tiny network whose loss takes noise; the clock runs out before step `stop_before`."""
    torch.manual_seed(1)
    layer = nn.Linear(3, 1)
    stage = Stage("toy", folder, nn.ModuleDict({"layer": layer}), 12, stop_at=0.5)
    seen: list[int] = []

    def loss(batch: torch.Tensor) -> torch.Tensor:
        seen.append(1)
        result: torch.Tensor = (layer(batch) - torch.randn(4, 1, generator=stage.noise)).square().mean()
        return result

    late = stop_before is not None
    monkeypatch.setattr("time.monotonic", lambda: 1.0 if late and len(seen) >= (stop_before or 0) else 0.0)
    done = stage.run(lambda step: torch.full((4, 3), float(step)), loss, lambda step: 0.01 * (12 - step))
    monkeypatch.undo()
    return done, stage.averaged()


def test_interrupted_training_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("once", "twice"):
        (tmp_path / folder).mkdir()
    finished, once = run(tmp_path / "once", None, monkeypatch)
    assert finished
    finished, _ = run(tmp_path / "twice", 5, monkeypatch)
    assert not finished
    finished, twice = run(tmp_path / "twice", None, monkeypatch)
    assert finished
    for name, weights in once.state_dict().items():
        assert torch.equal(weights, twice.state_dict()[name])
    curves = [(tmp_path / folder / "toy_loss.csv").read_text() for folder in ("once", "twice")]
    assert curves[0] == curves[1]
    assert curves[0].startswith("step,running_loss,seconds\n0,")


def test_batches_are_a_function_of_seed_and_step() -> None:
    tokenizer = networks.make_tokenizer()
    for step in (0, 2000, train_denoiser.STEPS - 1):
        first, again = (train_denoiser.batch(step, 0, tokenizer) for _ in range(2))
        other = train_denoiser.batch(step, 1, tokenizer)
        assert all(torch.equal(a, b) for a, b in zip(first[:3], again[:3], strict=True))
        assert not torch.equal(first[0], other[0])
    assert torch.equal(train_vae.batch(3, 0), train_vae.batch(3, 0))
    assert torch.equal(train_decoder.batch(3, 0)[0], train_decoder.batch(3, 0)[0])
    assert all(
        torch.equal(a, b)
        for a, b in zip(train_text.batch(3, 0, tokenizer), train_text.batch(3, 0, tokenizer), strict=True)
    )


def test_every_stage_has_a_gradient_for_all_it_trains() -> None:
    noise = torch.Generator().manual_seed(0)
    vae = networks.make_vae()
    train_vae.loss(vae, train_vae.batch(0, 0)[:2], noise).backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None for weight in vae.parameters())

    tokenizer = networks.make_tokenizer()
    encoder = networks.make_text_encoder(tokenizer)
    reader = train_text.make_answers(encoder.config.hidden_size)
    train_text.loss(encoder, reader, train_text.batch(0, 0, tokenizer), noise).backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None for weight in (*encoder.parameters(), *reader.parameters()))

    text, unet = networks.make_text_encoder(tokenizer), networks.make_unet()
    images, covers, tokens = (tensor[:2] for tensor in train_denoiser.batch(0, 0, tokenizer)[:3])
    vae.requires_grad_(False)
    batch = images, covers, tokens, train_denoiser.PHASES[-1]
    train_denoiser.loss(unet, text, vae, batch, noise, attention.watch(unet), {}).backward()  # type: ignore[no-untyped-call]
    assert all(weight.grad is not None for weight in (*text.parameters(), *unet.parameters()))


def test_folding_statistics_changes_the_latents_and_not_the_images() -> None:
    torch.manual_seed(0)
    vae = networks.make_vae()
    images = train_vae.batch(0, 0)
    with torch.no_grad():
        before = vae.encode(images).latent_dist
        mean, std = before.mean.mean((0, 2, 3)), before.mean.std((0, 2, 3))
        shown = vae.decode(before.mean).sample
        networks.fold_statistics(vae, mean, std)
        after = vae.encode(images).latent_dist
        assert torch.allclose(after.mean.mean((0, 2, 3)), torch.zeros(4), atol=1e-4)
        assert torch.allclose(after.mean.std((0, 2, 3)), torch.ones(4), atol=1e-4)
        assert torch.allclose(after.std * std.view(4, 1, 1), before.std, rtol=1e-3)
        assert torch.allclose(vae.decode(after.mean).sample, shown, atol=1e-4)


def test_answers_say_the_whole_scene_and_are_learned() -> None:
    tokenizer = networks.make_tokenizer()
    torch.manual_seed(0)
    encoder = networks.make_text_encoder(tokenizer)
    reader = train_text.make_answers(encoder.config.hidden_size)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *reader.parameters()], lr=2e-3)
    noise = torch.Generator().manual_seed(0)
    tokens, answers = (tensor[:16] for tensor in train_text.batch(0, 0, tokenizer))
    assert len({str(row) for row in answers.tolist()}) == len({str(row) for row in tokens.tolist()})
    losses = []
    for _ in range(30):
        value = train_text.loss(encoder, reader, (tokens, answers), noise)
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        losses.append(value.item())
    assert losses[-1] < losses[0] / 4
