"""A reference that comes again is encoded once, by the VAE and by what reads it with the prompt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from imagegen.api.tensors import Pixels
from imagegen.engine import Engine
from imagegen.pipelines.checkpoint import describe_pipelines
from tests.unit import tiny_pipelines as tiny
from tests.unit.engine.plain_pipelines import small_inputs
from tests.unit.tiny_engine import SETTINGS

FAMILIES: dict[str, Callable[[], Any]] = {
    "flux2": tiny.flux2,
    "kontext": tiny.flux_kontext,
    "qwen-edit": tiny.qwen_edit,
    "qwen-edit-plus": tiny.qwen_edit_plus,
    "instruct": tiny.sd_instruct,
    "z-image-omni": tiny.z_image_omni,
}


def reference(seed: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_equal_reference_is_encoded_once_and_another_one_again(family: str) -> None:
    pipelines = describe_pipelines(FAMILIES[family](), SETTINGS, torch.device("cpu"))
    with small_inputs(), Engine(SETTINGS, pipelines=pipelines) as engine:

        def misses(seed: int, shown: int) -> tuple[int, int]:
            engine.generate("a red cat", references=reference(shown), size=(64, 64), num_inference_steps=2, seed=seed)
            caches = engine._caches.by_name()
            return caches["prompt"].statistics.misses, caches["image"].statistics.misses

        prompts, images = misses(1, shown=1)
        assert images > 0
        assert misses(2, shown=1) == (prompts, images)
        prompts_of_other, images_of_other = misses(3, shown=2)
        assert images_of_other == 2 * images
        if family in ("qwen-edit", "qwen-edit-plus"):  # their text encoder sees the reference
            assert prompts_of_other > prompts
