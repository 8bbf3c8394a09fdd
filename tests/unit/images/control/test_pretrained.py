"""What cannot be loaded is named with its parameter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import DepthAnythingForDepthEstimation

from imagegen.images.control.pretrained import load_pretrained

DEPTH = "AutoModelForDepthEstimation"


def test_a_model_runs_in_float32_without_dropout(depth_folder: Callable[..., Path]) -> None:
    folder = depth_folder()
    half: Any = DepthAnythingForDepthEstimation.from_pretrained(folder)
    half.half().save_pretrained(folder)
    processor, model = load_pretrained("depth_model", str(folder), DEPTH)
    assert (model.dtype, model.training) == (torch.float32, False)
    assert type(processor).__name__.endswith("Pil")


@pytest.mark.parametrize("source", ["nowhere", "/there/is/nothing", "https://example.org/model"])
def test_what_is_no_folder_and_can_be_no_hub_id_is_refused(source: str) -> None:
    with pytest.raises(
        ValueError, match=f"^parameter pose_model: {source} is neither a folder that is there nor a hub"
    ):
        load_pretrained("pose_model", source, DEPTH)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^parameter depth_model: {tmp_path} cannot be loaded: "):
        load_pretrained("depth_model", str(tmp_path), DEPTH)


def test_a_damaged_file_is_refused(depth_folder: Callable[..., Path]) -> None:
    folder = depth_folder()
    (folder / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(ValueError, match=f"^parameter depth_model: {folder} cannot be loaded: "):
        load_pretrained("depth_model", str(folder), DEPTH)


def test_a_model_that_lacks_weights_is_refused_rather_than_filled_with_chance(
    depth_folder: Callable[..., Path],
) -> None:
    folder = depth_folder()
    weights = load_file(folder / "model.safetensors")
    save_file(
        {name: values for name, values in weights.items() if "head" not in name},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    with pytest.raises(
        ValueError, match=f"^parameter depth_model: {folder} lacks weights of its model: head.conv1.bias"
    ):
        load_pretrained("depth_model", str(folder), DEPTH)
