from __future__ import annotations

import pytest
import torch

from imagegen.engine.adapters.adapter import AdapterError
from imagegen.engine.adapters.raw_pairs import raw_pairs
from tests.unit.engine.adapters.reference import FILE_NAME, Tensors, file_of

DOWN, UP, ALPHA = "x.lora_down.weight", "x.lora_up.weight", "x.alpha"
NAN, INFINITY = float("nan"), float("inf")


def pair(rank: int = 2) -> Tensors:
    return {DOWN: torch.ones(rank, 3), UP: torch.full((4, rank), 2.0)}


def refused(tensors: Tensors, key: str) -> str:
    with pytest.raises(AdapterError) as error:
        raw_pairs(file_of(tensors))
    assert str(error.value).startswith(f"{FILE_NAME}: {key} ")
    return str(error.value)


def test_a_pair_without_alpha_stays_as_it_is() -> None:
    tensors, raw = raw_pairs(file_of(pair()))
    assert tensors.keys() == raw.matrices == {DOWN, UP}
    assert torch.equal(tensors[UP], torch.full((4, 2), 2.0))
    assert raw.scaled is None
    assert not raw.empty


def test_alpha_is_folded_in_once_and_stands_for_none_afterwards() -> None:
    tensors, raw = raw_pairs(file_of(pair() | {ALPHA: torch.tensor(1, dtype=torch.int64)}))
    assert torch.equal(tensors[UP], torch.ones(4, 2))
    assert tensors[ALPHA] == 2
    assert raw.scaled == ALPHA


def test_an_alpha_of_the_rank_changes_nothing() -> None:
    assert raw_pairs(file_of(pair() | {ALPHA: torch.tensor([2.0])}))[1].scaled is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn, torch.float32])
def test_matrices_are_copies_in_float32(dtype: torch.dtype) -> None:
    own = {key: tensor.to(dtype) for key, tensor in pair().items()}
    tensors, _ = raw_pairs(file_of(own))
    for key in (DOWN, UP):
        assert tensors[key].dtype == torch.float32
        tensors[key].zero_()
        assert own[key].to(torch.float32).all()


@pytest.mark.parametrize("zero", [DOWN, UP])
def test_a_pair_of_which_one_half_is_zero_is_empty(zero: str) -> None:
    assert raw_pairs(file_of(pair() | {zero: torch.zeros_like(pair()[zero])}))[1].empty == {DOWN, UP}


def test_half_a_pair_is_refused() -> None:
    for key, tensor in pair().items():
        assert "other half" in refused({key: tensor}, key)
    assert "other half" in refused(pair() | {"y.alpha": torch.tensor(1.0)}, "y.alpha")


def test_halves_of_different_ranks_are_refused() -> None:
    assert "[4, 3]" in refused({DOWN: torch.ones(2, 3), UP: torch.ones(4, 3)}, UP)


@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
@pytest.mark.parametrize("key", [DOWN, UP])
def test_what_is_not_finite_is_refused(key: str, value: float) -> None:
    tensors = pair()
    tensors[key][1, 1] = value
    assert "NaN or infinite" in refused(tensors, key)
    assert str(value) in refused(pair() | {ALPHA: torch.tensor(value)}, ALPHA)


def test_numbers_too_large_for_float32_are_refused() -> None:
    assert "infinite" in refused(pair() | {UP: torch.full((4, 2), 1e300, dtype=torch.float64)}, UP)


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool, torch.complex64])
def test_other_dtypes_are_refused_by_name(dtype: torch.dtype) -> None:
    assert str(dtype).removeprefix("torch.") in refused(pair() | {DOWN: torch.ones(2, 3).to(dtype)}, DOWN)


@pytest.mark.parametrize("shape", [(), (2,), (0, 3), (2, 0)])
def test_what_is_no_matrix_is_refused(shape: tuple[int, ...]) -> None:
    refused(pair() | {DOWN: torch.ones(shape)}, DOWN)


def test_an_alpha_that_is_no_number_is_refused() -> None:
    refused(pair() | {ALPHA: torch.ones(2)}, ALPHA)
    refused(pair() | {ALPHA: torch.ones((), dtype=torch.complex64)}, ALPHA)


@pytest.mark.parametrize("key", ["unet.conv_in.weight", "step", "x.scale_weight"])
def test_what_is_no_part_of_a_pair_is_refused(key: str) -> None:
    assert "no part of a LoRA" in refused(pair() | {key: torch.ones(2)}, key)


def test_the_same_matrix_by_two_names_is_refused() -> None:
    key = "x.lora_A.weight"
    assert DOWN in refused(pair() | {key: torch.ones(2, 3)}, key)


def test_a_file_without_tensors_is_refused() -> None:
    assert "no tensors" in refused({}, "the file")
