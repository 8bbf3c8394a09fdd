from __future__ import annotations

import pytest

from imagegen.engine.adapters.layer_names import component_of, found_layer, is_text_encoder
from imagegen.engine.adapters.matrix_names import MatrixName

COMPONENTS = ("unet", "text_encoder")


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("unet.conv_in", ("unet", "conv_in")),
        ("text_encoder.encoder.layers.0.mlp.fc1", ("text_encoder", "encoder.layers.0.mlp.fc1")),
        ("conv_in", ("unet", "conv_in")),
        ("down_blocks.0.resnets.0.conv1", ("unet", "down_blocks.0.resnets.0.conv1")),
        ("text_encoder_3.encoder.block", ("text_encoder_3", "encoder.block")),
        ("transformer.proj_out", ("transformer", "proj_out")),
        ("transformer_blocks.0.attn", ("unet", "transformer_blocks.0.attn")),
        ("unet", ("unet", "unet")),
    ],
)
def test_a_name_begins_with_its_component_or_is_the_denoisers(layer: str, expected: tuple[str, str]) -> None:
    assert component_of(layer, COMPONENTS) == expected


def test_text_encoders_are_known_by_their_names() -> None:
    assert [is_text_encoder(name) for name in ("text_encoder", "text_encoder_2", "unet")] == [True, True, False]


@pytest.mark.parametrize(
    ("layer", "of_processor", "expected"),
    [
        ("attn1.to_q", False, "attn1.to_q"),
        ("attn1.processor.to_q", True, "attn1.to_q"),
        ("attn1.processor.to_out", True, "attn1.to_out.0"),
        ("attn1.to_out.0", False, "attn1.to_out.0"),
        ("attn1.to_out", False, None),
        ("attn3.to_q", False, None),
    ],
)
def test_a_denoisers_layer_is_found(layer: str, of_processor: bool, expected: str | None) -> None:
    modules = {"attn1.to_q", "attn1.to_out.0"}
    assert found_layer(MatrixName(layer, "down", of_processor), layer, "unet", modules) == expected


@pytest.mark.parametrize("prefix", ["", "text_model."])
@pytest.mark.parametrize("own_prefix", ["", "text_model."])
@pytest.mark.parametrize(
    ("layer", "of_processor", "own"),
    [
        ("layers.0.self_attn.to_q", True, "layers.0.self_attn.q_proj"),
        ("layers.0.self_attn.to_out", True, "layers.0.self_attn.out_proj"),
        ("layers.0.self_attn.k_proj", False, "layers.0.self_attn.k_proj"),
        ("layers.0.mlp.fc1", False, "layers.0.mlp.fc1"),
        ("text_projection", False, "text_projection"),
    ],
)
def test_a_text_encoders_layer_is_found_with_and_without_its_first_level(
    prefix: str, own_prefix: str, layer: str, of_processor: bool, own: str
) -> None:
    name = MatrixName(prefix + layer, "down", of_processor)
    assert found_layer(name, prefix + layer, "text_encoder_2", {own_prefix + own}) == own_prefix + own
