"""The adapters: what their styles do to an image, that training learns them, and what ships."""

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


def test_sepia_is_warm_and_keeps_every_colour_apart() -> None:
    palette = np.array([list(COLOURS.values())], np.float32)
    browns = train_adapters.sepia(palette, np.zeros(palette.shape[:2], np.float32))[0]
    assert browns.min() >= 0
    assert browns.max() <= 255
    assert (browns[:, 0] > browns[:, 2]).all(where=np.array(list(COLOURS)) != "blue")
    assert np.ptp(browns, axis=1).mean() < 0.6 * np.ptp(palette[0], axis=1).mean()
    distances = np.linalg.norm(browns[:, None] - browns[None], axis=2)[~np.eye(len(browns), dtype=bool)]
    assert distances.min() > 30


@pytest.mark.parametrize("name", train_adapters.STYLES)
def test_batches_are_a_function_of_seed_and_step(name: str) -> None:
    style = train_adapters.STYLES[name]
    first, again, other = (train_adapters.batch(style, 3, seed) for seed in ("a", "a", "b"))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert first[2] == again[2]
    assert not torch.equal(first[0], other[0])


def test_training_writes_a_small_file_that_changes_images_and_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_adapters, "_SIDES", (32,))
    monkeypatch.setattr(train_adapters, "_BATCHES", {32: 4})
    for folder in ("once", "twice"):
        losses = train_adapters.train("sepia", tmp_path / folder, steps=3)
        assert len(losses) == 3
    files = [tmp_path / folder / "sepia.safetensors" for folder in ("once", "twice")]
    assert files[0].stat().st_size < 350_000
    once, twice = map(load_file, files)
    assert all(torch.equal(once[key], twice[key]) for key in once)
    assert {weight.dtype for weight in once.values()} == {torch.float16}
    assert all(weight.any() for key, weight in once.items() if ".lora_B." in key)


def test_what_ships_is_small_and_says_how_it_was_made() -> None:
    files = sorted(ADAPTERS.glob("*"))
    assert [file.name for file in files] == sorted(f"{name}.safetensors" for name in train_adapters.STYLES)
    for file in files:
        assert file.stat().st_size < 350_000
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

    plain = image(outline=0.0, sepia=0.0)
    alone = {name: image(**{name: 1.0}) for name in train_adapters.STYLES}
    both = image(outline=1.0, sepia=1.0)
    for changed in (*alone.values(), both):
        assert np.abs(changed - plain).mean() > 5
    assert all(np.abs(both - changed).mean() > 5 for changed in alone.values())
    corner = slice(0, 16)
    assert plain[corner, corner, 2].mean() > 150  # a blue background
    assert both[corner, corner, 2].mean() < 120  # is brown
