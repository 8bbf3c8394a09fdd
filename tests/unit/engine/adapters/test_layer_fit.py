from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from imagegen.engine.adapters.adapter import AdapterError, LowRank
from imagegen.engine.adapters.layer_fit import Pair, fitted, stored
from tests.unit.engine.adapters.reference import FILE_NAME, file_of

KEY = "unet.a.lora_A.weight"
FILE = file_of({})


def pair(down: tuple[int, ...], up: tuple[int, ...]) -> Pair:
    return Pair(torch.randn(down), torch.randn(up), KEY)


def refused(made: Pair, layer: Any) -> str:
    with pytest.raises(AdapterError) as error:
        fitted(FILE, made, layer, 1.0)
    assert str(error.value).startswith(f"{FILE_NAME}: {KEY} ")
    return str(error.value)


@pytest.mark.parametrize(
    ("layer", "down", "up"),
    [
        (nn.Linear(5, 7), (2, 5), (7, 2)),
        (nn.Conv2d(5, 7, 1), (2, 5, 1, 1), (7, 2, 1, 1)),
        (nn.Conv2d(5, 7, 3, stride=2), (2, 5, 3, 3), (7, 2, 1, 1)),
        (nn.Conv2d(5, 7, (1, 3)), (2, 5, 1, 3), (7, 2, 1, 1)),
    ],
)
def test_a_pair_in_the_layers_shape_stays(layer: nn.Module, down: tuple[int, ...], up: tuple[int, ...]) -> None:
    made = pair(down, up)
    fit = fitted(FILE, made, layer, 1.0)
    assert torch.equal(fit.down, made.down)
    assert torch.equal(fit.up, made.up)


def test_a_pair_for_a_1x1_convolution_is_one_for_a_linear_layer_and_the_other_way_round() -> None:
    made = pair((2, 5, 1, 1), (7, 2, 1, 1))
    fit = fitted(FILE, made, nn.Linear(5, 7), 1.0)
    assert torch.equal(fit.up @ fit.down, made.up[..., 0, 0] @ made.down[..., 0, 0])
    made = pair((2, 5), (7, 2))
    fit = fitted(FILE, made, nn.Conv2d(5, 7, 1), 1.0)
    assert (fit.down.shape, fit.up.shape) == ((2, 5, 1, 1), (7, 2, 1, 1))
    assert torch.equal(fit.up[..., 0, 0] @ fit.down[..., 0, 0], made.up @ made.down)


def test_the_scale_goes_into_up() -> None:
    made = pair((2, 5), (7, 2))
    fit = fitted(FILE, made, nn.Linear(5, 7), 0.5)
    assert torch.equal(fit.up, made.up / 2)
    assert torch.equal(fit.down, made.down)


@pytest.mark.parametrize(
    ("layer", "down", "up"),
    [
        (nn.Linear(5, 7), (2, 6), (7, 2)),
        (nn.Linear(5, 7), (2, 5), (8, 2)),
        (nn.Linear(5, 7), (2, 7), (5, 2)),
        (nn.Linear(5, 7), (2, 5, 3, 3), (7, 2, 1, 1)),
        (nn.Linear(4, 7), (2, 1, 2, 2), (7, 2, 1, 1)),
        (nn.Conv2d(5, 7, 3), (2, 5, 1, 1), (7, 2, 1, 1)),
        (nn.Conv2d(5, 7, 3), (2, 5, 3, 3), (7, 2, 3, 3)),
        (nn.Conv2d(5, 7, 1), (2, 5, 1, 1, 1), (7, 2, 1, 1, 1)),
    ],
)
def test_another_width_or_kernel_is_another_base_model(
    layer: nn.Module, down: tuple[int, ...], up: tuple[int, ...]
) -> None:
    message = refused(pair(down, up), layer)
    assert str(list(down)) in message
    assert str(list(up)) in message
    assert "another base model" in message


@pytest.mark.parametrize(
    "layer", [nn.LayerNorm(5), nn.Embedding(7, 5), nn.Conv2d(10, 10, 1, groups=2), nn.Conv3d(5, 7, 1), nn.ModuleList()]
)
def test_a_layer_of_another_kind_is_refused_by_it(layer: nn.Module) -> None:
    assert type(layer).__name__ in refused(pair((2, 5), (7, 2)), layer)


class _Quantized(nn.Module):
    """A linear layer whose weight is packed."""

    in_features, out_features = 5, 7

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(18, 1, dtype=torch.uint8))


class _Component(nn.Module):
    dtype = torch.float16


@pytest.mark.parametrize(
    ("layer", "dtype"),
    [
        (nn.Linear(5, 7, dtype=torch.bfloat16), torch.bfloat16),
        (nn.Linear(5, 7), torch.float32),
        (_Quantized(), torch.float16),
    ],
)
def test_a_pair_is_stored_in_the_dtype_that_the_layer_computes_in(layer: nn.Module, dtype: torch.dtype) -> None:
    fit = fitted(FILE, pair((2, 5), (7, 2)), layer, 1.0)
    kept = stored(fit, layer, _Component())
    assert (kept.down.dtype, kept.up.dtype) == (dtype, dtype)


def test_what_is_stored_is_contiguous_and_keeps_nothing_else_alive() -> None:
    large = torch.randn(6, 10)
    kept = stored(LowRank(large[:2, :5], large.T[:7, :2]), nn.Linear(5, 7), _Component())
    for matrix in (kept.down, kept.up):
        assert matrix.is_contiguous()
        assert matrix.untyped_storage().nbytes() == matrix.nbytes
