"""Whatever a denoiser's class, its arguments have names, its main one is found, and so are its rows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel, ZImageTransformer2DModel
from torch import nn

from imagegen.engine.denoiser_arguments import first_tensor, is_nothing, main_argument, network_of, rows_of
from tests.unit import tiny_pipelines as tiny

ROWS = torch.ones(3, 4)


class Toy(nn.Module):
    def forward(self, sample: Any, timestep: int, mask: Any = None, scale: float = 1.0) -> Any:
        return sample


def test_positional_arguments_get_names() -> None:
    network = network_of(Toy())
    assert network.family == "Toy"
    assert network.bound((ROWS, 1), {"scale": 2.0}) == {"sample": ROWS, "timestep": 1, "scale": 2.0}
    assert network.optional == {"mask"}


def test_the_main_argument_is_found_by_place_and_by_name() -> None:
    assert main_argument(Toy(), (ROWS,), {}) is ROWS
    assert main_argument(Toy(), (), {"sample": ROWS}) is ROWS
    assert main_argument(Toy(), (), {"x": ROWS}) is ROWS
    assert main_argument(Toy(), (), {}) is None


@pytest.mark.parametrize(
    ("main", "rows", "shape"),
    [
        (ROWS, 3, (3, 4)),
        ([ROWS[0], ROWS[1]], 2, (4,)),
        ([[ROWS, ROWS], [ROWS]], 2, (3, 4)),  # references beside what is denoised (Z-Image-Omni)
        ([], 1, (0,)),
        (None, 1, (0,)),
    ],
)
def test_rows_and_the_first_tensor(main: Any, rows: int, shape: tuple[int, ...]) -> None:
    assert rows_of(main) == rows
    assert first_tensor(main).shape == shape


@pytest.mark.parametrize(
    ("value", "nothing"), [(None, True), ({}, True), ({"scale": 1}, False), (0, False), ([], False)]
)
def test_what_says_nothing(value: Any, nothing: bool) -> None:
    assert is_nothing(value) is nothing


def test_what_is_known_of_a_module_is_asked_once() -> None:
    unet = tiny.sd().unet
    assert network_of(unet) is network_of(unet)
    assert network_of(unet).family == UNet2DConditionModel.__name__
    assert network_of(tiny.z_image().transformer).family == ZImageTransformer2DModel.__name__
