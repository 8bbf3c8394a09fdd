"""The edit model: what it is trained on, that training changes weights, and that what ships follows instructions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from checkpoint import BUNDLED, EDIT, evaluate, evaluate_edit, train_edit, training_loop

LARGEST_BYTES = 5_000_000


def test_batches_are_a_function_of_the_step() -> None:
    first, again, next_one = (train_edit.batch(step) for step in (1, 1, 2))
    before, after, weights, instructions, shown = first
    for one, other in zip((before, after, weights, shown), (*again[:3], again[4]), strict=True):
        assert torch.equal(one, other)
    assert instructions == again[3]
    assert before.shape != next_one[0].shape
    assert before.shape == after.shape == (len(instructions), 3, 64, 64)
    assert weights.shape == (len(instructions), 1, 64, 64)
    assert weights.min() >= 1
    assert shown.shape == (len(instructions), 1, 1, 1)
    assert not torch.equal(before, after)


def test_an_untrained_one_starts_as_the_checkpoint_and_sees_no_image() -> None:
    unet = evaluate.load(BUNDLED).unet
    edit = train_edit.make(unet)
    own, shared = edit.state_dict(), unet.state_dict()
    assert set(own) < set(shared)
    assert all(torch.equal(own[name], shared[name]) for name in own if name != "conv_in.weight")
    assert own["conv_in.weight"].shape == (32, 8, 3, 3)
    assert not own["conv_in.weight"][:, 4:].any()


def test_training_writes_a_small_denoiser_in_half_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_edit, "_BATCHES", ((32, 4),))
    monkeypatch.setattr(training_loop, "ramp_and_cosine", lambda peak, step, steps: peak)  # no ramp in three steps
    once, twice = (train_edit.train(tmp_path / folder, steps=3) for folder in ("once", "twice"))
    assert once == pytest.approx(twice, rel=1e-2)  # torch rounds by where in memory a tensor lies
    assert (tmp_path / "once" / "edit_loss.csv").read_text().startswith("step,running_loss,seconds\n")
    file = tmp_path / "once" / "unet" / "diffusion_pytorch_model.safetensors"
    assert file.stat().st_size < LARGEST_BYTES
    weights = load_file(file)
    assert {weight.dtype for weight in weights.values()} == {torch.float16}
    assert weights["conv_in.weight"][:, 4:].any()


def test_what_ships_is_a_denoiser_of_its_own_beside_links_to_the_checkpoints_files() -> None:
    own = [file for file in EDIT.rglob("*") if file.is_file() and not file.is_symlink()]
    assert sum(file.stat().st_size for file in own) < LARGEST_BYTES
    assert {file.parent for file in own} == {EDIT, EDIT / "unet"}
    assert not any("_name_or_path" in file.read_text() for file in own if file.suffix == ".json")
    links = [file for file in EDIT.rglob("*") if file.is_symlink()]
    assert {file.readlink().is_absolute() for file in links} == {False}
    for part in ("scheduler", "text_encoder", "tokenizer", "vae"):
        linked = {file.resolve() for file in links if file.parent.name == part}
        assert linked == set((BUNDLED / part).iterdir())


def test_what_ships_edits_as_instructed() -> None:
    pipeline = evaluate_edit.load(EDIT)
    for kind, least in (("colour", 0.6), ("background", 0.8), ("outline", 0.3)):
        edits = evaluate_edit.unseen(4, kind)
        images = evaluate_edit.edited(pipeline, edits, steps=8)
        pairs = list(zip(images, edits, strict=True))
        assert np.mean([evaluate_edit.done(image, edit) for image, edit in pairs]) > least
        assert np.mean([evaluate_edit.elsewhere(image, edit) for image, edit in pairs]) < 0.25


def test_the_check_knows_a_perfect_edit_and_none() -> None:
    for edit in (edit for kind in evaluate_edit.KINDS for edit in evaluate_edit.unseen(4, kind)):
        assert evaluate_edit.done(edit.after, edit) == 1
        assert evaluate_edit.done(edit.before, edit) == 0
        assert evaluate_edit.elsewhere(edit.after, edit) < 0.02
        assert evaluate_edit.elsewhere(edit.before, edit) == 0
        if edit.kind != "outline":
            assert evaluate_edit.in_place(edit.after, edit)
