from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagegen.engine.adapters.matrix_names import MatrixName, alpha_layer, matrix_name


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("unet.a.to_q.lora_A.weight", MatrixName("unet.a.to_q", "down")),
        ("unet.a.to_q.lora_B.weight", MatrixName("unet.a.to_q", "up")),
        ("a.to_q.lora_A.default.weight", MatrixName("a.to_q", "down")),
        ("lora_unet_a_to_q.lora_down.weight", MatrixName("lora_unet_a_to_q", "down")),
        ("lora_unet_a_to_q.lora_up.weight", MatrixName("lora_unet_a_to_q", "up")),
        ("unet.a.lora.down.weight", MatrixName("unet.a", "down")),
        ("unet.a.lora_linear_layer.up.weight", MatrixName("unet.a", "up")),
        ("unet.a.processor.to_out_lora.up.weight", MatrixName("unet.a.processor.to_out", "up", of_processor=True)),
        ("double_blocks.0.processor.qkv_lora2.down.weight", MatrixName("double_blocks.0.processor.qkv2", "down", True)),
        ("a.alpha", None),
        ("a.weight", None),
        ("a.lora_A.bias", None),
        ("lora_A.weight", None),
        ("a.lora_A.b.c.weight", None),
    ],
)
def test_a_key_is_taken_apart(key: str, expected: MatrixName | None) -> None:
    assert matrix_name(key) == expected


def test_an_alpha_names_its_layer() -> None:
    assert alpha_layer("lora_unet_a.alpha") == "lora_unet_a"
    assert alpha_layer("lora_unet_a.lora_up.weight") is None


@given(st.text(max_size=60))
def test_any_text_is_a_name_or_none(key: str) -> None:
    assert matrix_name(key) is None or key.endswith(".weight")
