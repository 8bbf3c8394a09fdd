"""The main argument of a call, and its rows, are found whatever a network calls it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from imagegen.engine.signature import first_tensor, main_argument, rows_of, signature_of


class ByPosition(torch.nn.Module):
    def forward(self, latents: torch.Tensor, t: Any = None, *, scale: float = 1.0) -> torch.Tensor:
        return latents


class ByName(torch.nn.Module):
    def forward(self, guidance: Any = None, hidden_states: Any = None) -> Any:
        return hidden_states


def test_names_and_what_may_be_left_out() -> None:
    signature = signature_of(ByPosition())
    assert (signature.family, signature.names, signature.optional) == ("ByPosition", ("latents", "t"), {"t"})
    assert signature.bound([1], {"t": 2}) == {"latents": 1, "t": 2}


def test_the_first_argument_is_what_is_denoised_or_else_one_of_a_known_name() -> None:
    sample = torch.zeros(3, 2)
    assert main_argument(ByPosition(), [sample], {}) is sample
    assert main_argument(ByName(), [], {"hidden_states": sample}) is sample
    assert main_argument(ByName(), [], {}) is None


@pytest.mark.parametrize(
    ("main", "rows", "shape"),
    [
        (torch.zeros(3, 2), 3, [3, 2]),
        ([torch.zeros(4), torch.zeros(5)], 2, [4]),
        (torch.tensor(1.0), 1, []),
        ([], 1, [0]),
        (None, 1, [0]),
    ],
)
def test_rows_and_the_tensor_that_says_where_it_computes(main: Any, rows: int, shape: list[int]) -> None:
    assert rows_of(main) == rows
    assert list(first_tensor(main).shape) == shape
