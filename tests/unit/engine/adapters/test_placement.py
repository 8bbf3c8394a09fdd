from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from imagegen.engine.adapters.adapter import AdapterError
from imagegen.engine.adapters.placement import PlacedPair, placed_pairs
from imagegen.engine.adapters.raw_pairs import raw_pairs
from imagegen.engine.adapters.traced import traced
from tests.unit.engine.adapters.reference import FILE_NAME, Tensors, file_of

COMPONENTS = ("unet", "text_encoder", "text_encoder_2")
MODULES: Mapping[str, Mapping[str, Any]] = {"unet": {"a": 0, "b": 0}, "text_encoder": {"a": 0}}


def pair(name: str, value: float = 1.0) -> Tensors:
    return {f"{name}.lora_A.weight": torch.ones(1, 2), f"{name}.lora_B.weight": torch.full((2, 1), value)}


def placed(
    tensors: Tensors, names: Mapping[str, str] | None = None, redundant: frozenset[str] = frozenset()
) -> tuple[dict[str, dict[str, PlacedPair]], tuple[str, ...]]:
    """Where the pairs of a file go when a converter gives them other `names`; it drops those that have none."""
    file = file_of(tensors)
    given, raw = raw_pairs(file)
    made = traced(given)
    converted = made if names is None else {new: made[old] for old, new in names.items()}
    return placed_pairs(file, raw, converted, COMPONENTS, MODULES, redundant)  # type: ignore[arg-type]


def refused(tensors: Tensors, key: str, names: Mapping[str, str] | None = None) -> str:
    with pytest.raises(AdapterError) as error:
        placed(tensors, names)
    assert str(error.value).startswith(f"{FILE_NAME}: {key} ")
    return str(error.value)


def test_each_pair_goes_to_its_layer_with_its_key() -> None:
    found, warnings = placed(pair("unet.a") | pair("text_encoder.a") | pair("b"))
    assert {component: list(layers) for component, layers in found.items()} == {
        "unet": ["a", "b"],
        "text_encoder": ["a"],
    }
    tensor, key = found["unet"]["a"].halves["up"]
    assert key == "unet.a.lora_B.weight"
    assert type(tensor) is torch.Tensor
    assert warnings == ()


def test_a_pair_for_no_layer_is_refused_with_the_count_and_the_base_model() -> None:
    message = refused(pair("unet.c") | pair("unet.d"), "unet.c.lora_A.weight")
    assert "4 of the file's 4" in message
    assert "another base model" in message


def test_some_pairs_for_no_layer_are_enough() -> None:
    message = refused(pair("unet.a") | pair("unet.c"), "unet.c.lora_A.weight")
    assert "2 of the file's 4" in message
    assert "another base model" not in message


def test_what_a_converter_drops_is_refused() -> None:
    kept = {key: key for key in pair("unet.a")}
    assert "left out by diffusers" in refused(pair("unet.a") | pair("unet.b"), "unet.b.lora_A.weight", kept)


def test_what_a_converter_names_like_nothing_known_is_refused() -> None:
    names = {"unet.a.lora_A.weight": "unet.a.lora_A.weight", "unet.a.lora_B.weight": "unet.a.weight"}
    refused(pair("unet.a"), "unet.a.lora_B.weight", names)


def test_a_component_that_the_model_lacks_is_named() -> None:
    assert "text_encoder_2, which this model lacks" in refused(
        pair("text_encoder_2.a"), "text_encoder_2.a.lora_A.weight"
    )


def test_a_component_that_takes_no_adapter_is_named() -> None:
    assert "text_encoder_3, which takes no LoRA" in refused(pair("text_encoder_3.a"), "text_encoder_3.a.lora_A.weight")


def test_two_matrices_for_one_place_are_refused() -> None:
    message = refused(pair("unet.a") | pair("a"), "a.lora_A.weight")
    assert "unet.a.lora_A.weight" in message


def test_a_pair_that_a_converter_splits_has_to_arrive_whole() -> None:
    names = {"unet.a.lora_A.weight": "unet.a.lora_A.weight", "unet.a.lora_B.weight": "unet.b.lora_B.weight"}
    assert "other half" in refused(pair("unet.a"), "unet.a.lora_A.weight", names)


def test_a_pair_of_zeros_for_no_layer_is_left_out_with_a_warning() -> None:
    found, warnings = placed(pair("unet.a") | pair("unet.c", 0.0) | pair("text_encoder_2.a", 0.0))
    assert {component: list(layers) for component, layers in found.items()} == {"unet": ["a"]}
    assert len(warnings) == 1
    assert "4 matrices of zeros" in warnings[0]
    assert "unet.c.lora_A.weight" in warnings[0]


def test_a_pair_of_zeros_for_a_layer_stays() -> None:
    found, warnings = placed(pair("unet.a", 0.0))
    assert list(found["unet"]) == ["a"]
    assert warnings == ()


def test_nothing_but_zeros_for_no_layer_is_refused() -> None:
    refused(pair("unet.c", 0.0), "unet.c.lora_A.weight")


def test_what_is_redundant_need_not_arrive() -> None:
    found, warnings = placed(pair("unet.a") | pair("unet.c"), redundant=frozenset(pair("unet.c")))
    assert list(found["unet"]) == ["a"]
    assert "unet.c.lora_A.weight" in warnings[0]
