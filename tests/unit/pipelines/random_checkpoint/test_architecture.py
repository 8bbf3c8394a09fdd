"""Depths are cut and widths are not; a network needs no memory before it has weights."""

from __future__ import annotations

import re

import pytest

from imagegen.pipelines.random_checkpoint.published import ARCHITECTURES
from tests.unit.pipelines.random_checkpoint.small_architectures import SMALL_ARCHITECTURES


def test_layers_are_cut_in_every_part_as_far_as_it_has_more() -> None:
    sdxl = ARCHITECTURES["sdxl"]
    cut = sdxl.cut(2)
    assert cut.networks["unet"].config["transformer_layers_per_block"] == (1, 2, 2)
    assert cut.networks["unet"].config["layers_per_block"] == 2
    assert cut.networks["text_encoder_2"].config["num_hidden_layers"] == 2
    assert cut.networks["vae"] == sdxl.networks["vae"]
    assert sdxl.networks["unet"].config["transformer_layers_per_block"] == (1, 2, 10)


def test_layers_in_inner_configurations_are_cut_too() -> None:
    network = ARCHITECTURES["qwen-image"].networks["text_encoder"]
    cut = network.cut(3)
    assert (cut.config["text_config"]["num_hidden_layers"], cut.config["vision_config"]["depth"]) == (3, 3)
    assert (network.config["text_config"]["num_hidden_layers"], network.config["vision_config"]["depth"]) == (28, 32)
    assert cut.config["text_config"]["hidden_size"] == 3584


@pytest.mark.parametrize("layers", [0, -1, 61])
def test_a_number_of_layers_that_it_has_not_is_refused(layers: int) -> None:
    message = f"layers: {layers} is not allowed; 1..60 is, as many as the deepest part has"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ARCHITECTURES["qwen-image"].cut(layers)


def test_as_many_layers_as_it_has_change_nothing() -> None:
    flux = ARCHITECTURES["flux"]
    assert flux.cut(flux.layers).networks == flux.networks


def test_parameters_lie_on_no_device_and_buffers_have_their_values() -> None:
    transformer = SMALL_ARCHITECTURES["sd3"].networks["transformer"].build()
    assert {parameter.device.type for parameter in transformer.parameters()} == {"meta"}
    assert transformer.pos_embed.pos_embed.std() > 0.1


def test_a_shared_parameter_is_one() -> None:
    encoder = SMALL_ARCHITECTURES["flux"].networks["text_encoder_2"].build()
    assert encoder.encoder.embed_tokens.weight is encoder.shared.weight
