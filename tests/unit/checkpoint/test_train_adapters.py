"""The adapters: what their styles do to an image, that training changes weights, and what ships."""

from __future__ import annotations

import warnings
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file

from checkpoint import ADAPTERS, BUNDLED, evaluate, measure, paint, train_adapters
from checkpoint.scenes import COLOURS, Background, Placed, Scene, Thing

LARGEST_BYTES = 350_000
HEART = Scene((Thing("heart", "red"),), Background("plain", ("blue",)), "center")


def painted(side_px: int = 128) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """A red heart on blue and what it covers."""
    assert HEART.background is not None
    image = paint.image([Placed("heart", "red", 0.5, 0.5, 0.2)], HEART.background, side_px, Random(0))
    return image.astype(np.float32), paint.mask("heart", (side_px / 2, side_px / 2), 0.2 * side_px, side_px)


@pytest.mark.parametrize("side_px", [64, 128, 256])
def test_an_outline_is_dark_around_the_thing_and_nothing_else_changes(side_px: int) -> None:
    image, cover = painted(side_px)
    changed = np.abs(train_adapters.outline(image, cover) - image).max(2) > 1
    assert not changed[cover == 1].any()
    assert 0.01 < changed.mean() < 0.1
    restyled = train_adapters.outline(image, cover)
    assert restyled[changed & (cover == 0)].mean() < 0.5 * image[changed & (cover == 0)].mean()
    verdict = measure.judge(restyled.astype(np.uint8), HEART)
    assert verdict.background
    assert verdict.colour
    assert verdict.position
    assert verdict.shapes == (("heart", True),)


def test_dusk_has_its_own_colours_and_red_stands_out_from_blue() -> None:
    palette = np.array([list(COLOURS.values())], np.float32)
    shown = train_adapters.dusk(palette, np.zeros(palette.shape[:2], np.float32))[0]
    assert shown.min() >= 0
    assert shown.max() <= 255
    assert (shown[:, 0] >= shown[:, 1]).all()  # no green, no cyan
    red, blue = (shown[list(COLOURS).index(name)] for name in ("red", "blue"))
    assert np.linalg.norm(red - blue) > 100


@pytest.mark.parametrize("name", train_adapters.STYLES)
def test_batches_are_a_function_of_style_and_step(name: str) -> None:
    first, again, next_one = (train_adapters.batch(name, step) for step in (1, 1, 2))
    assert all(torch.equal(one, other) for one, other in zip(first[:3], again[:3], strict=True))
    assert first[3] == again[3]
    assert not torch.equal(first[0], next_one[0])
    images, restyled, weights, captions = first
    assert images.shape == restyled.shape == (len(captions), 3, 128, 128)
    assert weights.shape == (len(captions), 1, 128, 128)
    assert weights.min() >= 1
    assert not torch.equal(images, restyled)


def test_training_writes_a_small_file_of_what_it_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_adapters, "_BATCHES", ((32, 4),))
    monkeypatch.setattr(train_adapters, "ramp_and_cosine", lambda peak, step, steps: peak)  # no ramp in three steps
    once, twice = (train_adapters.train("dusk", tmp_path / folder, steps=3) for folder in ("once", "twice"))
    assert once == pytest.approx(twice, rel=1e-2)  # torch rounds by where in memory a tensor lies
    file = tmp_path / "once" / "dusk.safetensors"
    assert file.stat().st_size < LARGEST_BYTES
    weights = load_file(file)
    assert {weight.dtype for weight in weights.values()} == {torch.float16}
    assert all(weight.any() for key, weight in weights.items() if ".lora_B." in key)
    pipeline = evaluate.load(BUNDLED)
    pipeline.load_lora_weights(file, adapter_name="dusk")
    loaded = [name for name, _ in pipeline.unet.named_modules() if name.endswith("lora_A.dusk")]
    assert 2 * len(loaded) == len(weights)


def test_the_loss_falls_where_one_batch_is_learned(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(train_adapters, "_BATCHES", ((32, 8),))
    monkeypatch.setattr(train_adapters, "ramp_and_cosine", lambda peak, step, steps: 3 * peak)
    batch = train_adapters.batch
    monkeypatch.setattr(train_adapters, "batch", lambda name, step: batch(name, 0))
    losses = train_adapters.train("dusk", tmp_path, steps=12)
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])


def test_what_ships_is_small_and_says_how_it_was_made() -> None:
    files = sorted(ADAPTERS.glob("*"))
    assert [file.name for file in files] == sorted(f"{name}.safetensors" for name in train_adapters.STYLES)
    for file in files:
        assert file.stat().st_size < LARGEST_BYTES
        with safe_open(file, "pt") as opened:
            assert f'"unet.r": {train_adapters.RANK}' in opened.metadata()["lora_adapter_metadata"]


def test_what_ships_loads_and_both_change_the_image() -> None:
    pipeline = evaluate.load(BUNDLED)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's, at the second of several adapters
        for name in train_adapters.STYLES:
            pipeline.load_lora_weights(ADAPTERS / f"{name}.safetensors", adapter_name=name)

    def image(**scales: float) -> NDArray[np.float32]:
        pipeline.set_adapters(list(scales), list(scales.values()))
        prompts = ["a large red heart in the center on a blue background"]
        (made,) = evaluate.generate(pipeline, prompts, [7], num_inference_steps=4, guidance_scale=5.0)
        return made.astype(np.float32)

    plain = image(outline=0.0, dusk=0.0)
    alone = {name: image(**{name: 1.0}) for name in train_adapters.STYLES}
    both = image(outline=1.0, dusk=1.0)
    for changed in (*alone.values(), both):
        assert np.abs(changed - plain).mean() > 5
    assert all(np.abs(both - changed).mean() > 5 for changed in alone.values())
    behind = [seen[:16, :16, 2].mean() for seen in (plain, alone["outline"], alone["dusk"], both)]
    assert min(behind[:2]) > 190  # blue, with a line around the heart too
    assert max(behind[2:]) < 150  # the dark blue of dusk
