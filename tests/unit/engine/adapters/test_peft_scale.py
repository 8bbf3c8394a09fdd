from __future__ import annotations

import json
import math
from typing import Any

import pytest

from imagegen.engine.adapters.adapter import AdapterError
from imagegen.engine.adapters.peft_scale import PeftScale, peft_scales
from tests.unit.engine.adapters.reference import FILE_NAME, file_of

LAYER = "down_blocks.0.attn.to_q"
KEY = "unet.down_blocks.0.attn.to_q.lora_A.weight"


def scales(**entries: Any) -> dict[str, PeftScale]:
    return peft_scales(file_of({}, {"lora_adapter_metadata": json.dumps(entries)}))


def scale(rank: int = 4, names: tuple[str, ...] = (LAYER,), **config: Any) -> float:
    return scales(**{f"unet.{entry}": value for entry, value in config.items()})["unet"].of(names, rank, KEY)


def test_a_header_without_an_entry_says_nothing() -> None:
    assert peft_scales(file_of({}, {"format": "pt"})) == {}
    assert scales() == {}


def test_each_component_has_its_own_and_a_model_alone_has_no_name() -> None:
    found = scales(**{"unet.r": 4, "text_encoder_2.r": 2, "r": 1})
    assert {component: dict(scale.config) for component, scale in found.items()} == {
        "unet": {"r": 4},
        "text_encoder_2": {"r": 2},
        "": {"r": 1},
    }


def test_the_scale_is_alpha_by_rank_or_by_its_root() -> None:
    assert scale(r=4, lora_alpha=6) == 1.5
    assert scale(r=4, lora_alpha=6, use_rslora=True) == pytest.approx(6 / math.sqrt(4))
    assert scale(8, lora_alpha=16) == 2  # LoraConfig's own rank
    assert scale(8, r=8) == 1  # and its alpha


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("to_q", 2.0),
        ("attn.to_q", 2.0),
        (LAYER, 2.0),
        (f"^{LAYER}", 2.0),
        (LAYER.replace(".", "\\."), 2.0),
        ("all_x_embedder.2-1", 1.0),
        ("^attn.to_q", 1.0),
        ("tn.to_q", 1.0),
        ("to_k", 1.0),
    ],
)
def test_a_pattern_means_a_layer_by_the_end_of_its_name(pattern: str, expected: float) -> None:
    assert scale(r=4, lora_alpha=4, alpha_pattern={pattern: 8}) == expected


def test_the_first_pattern_that_matches_counts() -> None:
    assert scale(r=4, lora_alpha=4, alpha_pattern={"attn.to_q": 8, "to_q": 12}) == 2
    assert scale(r=4, lora_alpha=4, alpha_pattern={"to_q": 12, "attn.to_q": 8}) == 3


def test_a_pattern_may_have_the_name_of_the_model_or_of_the_file() -> None:
    names = ("layers.0.fc1", "text_model.layers.0.fc1")
    for pattern in ("layers.0.fc1", "text_model.layers.0.fc1", "^text_model.layers.0.fc1", "^layers.0.fc1"):
        assert scale(names=names, r=4, lora_alpha=4, alpha_pattern={pattern: 8}) == 2


def refused(call: Any, key: str = "lora_adapter_metadata") -> str:
    with pytest.raises(AdapterError) as error:
        call()
    assert str(error.value).startswith(f"{FILE_NAME}: {key} ")
    return str(error.value)


def test_another_rank_than_that_of_the_matrices_is_refused() -> None:
    assert "rank 4, and 2" in refused(lambda: scale(r=2, lora_alpha=2), KEY)
    assert "rank 4, and 2" in refused(lambda: scale(r=4, rank_pattern={"to_q": 2}), KEY)
    assert scale(2, r=4, lora_alpha=4, rank_pattern={"to_q": 2}) == 2


@pytest.mark.parametrize(
    "entry", ["use_dora", "modules_to_save", "layer_replication", "trainable_token_indices", "target_parameters"]
)
def test_an_adapter_that_is_more_than_its_pairs_is_refused(entry: str) -> None:
    assert entry in refused(lambda: scales(**{f"unet.{entry}": ["a"]}))
    scales(**{f"unet.{entry}": None})


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora", "corda", "loftq"])
def test_an_adapter_for_a_changed_base_model_is_refused(start: str) -> None:
    assert start in refused(lambda: scales(**{"unet.init_lora_weights": start}))


@pytest.mark.parametrize("start", [True, False, "gaussian", "eva"])
def test_other_starts_make_no_difference(start: object) -> None:
    assert scale(r=4, lora_alpha=8, init_lora_weights=start) == 2


@pytest.mark.parametrize("pattern", ["(a+)+$", ".*to_q", "a|b", ""])
def test_an_expression_is_refused(pattern: str) -> None:
    assert "expression" in refused(lambda: scale(r=4, alpha_pattern={pattern: 8}))


@pytest.mark.parametrize("value", ["4", None, [4], math.nan, math.inf, True])
def test_an_alpha_that_is_no_number_is_refused(value: object) -> None:
    assert "lora_alpha" in refused(lambda: scale(r=4, lora_alpha=value))
    assert "lora_alpha" in refused(lambda: scale(r=4, alpha_pattern={"to_q": value}))


@pytest.mark.parametrize("text", ["{", "[1]", "1", "[" * 100_000])
def test_a_header_that_diffusers_has_not_written_is_refused(text: str) -> None:
    assert "not what diffusers writes" in refused(lambda: peft_scales(file_of({}, {"lora_adapter_metadata": text})))


@pytest.mark.parametrize("patterns", [[1], "text", 3])
def test_patterns_that_are_no_mapping_are_refused(patterns: object) -> None:
    refused(lambda: scale(r=4, lora_alpha=4, alpha_pattern=patterns))
