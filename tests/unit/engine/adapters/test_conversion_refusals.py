"""What is wrong in a file that is otherwise an adapter for the pipeline; each refusal names the file and the key."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from imagegen.engine.adapters.adapter import AdapterError
from imagegen.engine.adapters.conversion import to_adapter
from tests.unit import tiny_pipelines as tiny
from tests.unit.engine.adapters.reference import FILE_NAME, Tensors, file_of

LAYER = "unet.conv_in"
DOWN, UP = f"{LAYER}.lora_A.weight", f"{LAYER}.lora_B.weight"
ATTENTION = "mid_block.attentions.0.transformer_blocks.0.attn1"


@cache
def pipeline(family: str) -> Any:
    return getattr(tiny, family)()


def good() -> Tensors:
    return {DOWN: torch.ones(2, 4, 3, 3), UP: torch.ones(8, 2, 1, 1)}


def refused(tensors: Tensors, key: str, family: str = "sd", metadata: dict[str, str] | None = None) -> str:
    with pytest.raises(AdapterError) as error:
        to_adapter(file_of(tensors, metadata), pipeline(family))
    assert str(error.value).startswith(f"{FILE_NAME}: {key} ")
    return str(error.value)


def test_the_adapter_that_the_others_spoil_is_good() -> None:
    assert list(to_adapter(file_of(good()), pipeline("sd")).components["unet"]) == ["conv_in"]


@pytest.mark.parametrize(
    "key",
    [
        *(f"{LAYER}.dora_scale", f"{LAYER}.lora_magnitude_vector", f"{LAYER}.hada_w1_a", f"{LAYER}.lokr_w1"),
        *(f"{LAYER}.oft_blocks", f"{LAYER}.boft_R", f"{LAYER}.ia3_l", f"{LAYER}.lora_mid.weight", f"{LAYER}.diff"),
        *(f"{LAYER}.diff_b", f"{LAYER}.lora_B.bias", f"{LAYER}.bias", "unet.conv_norm_out.weight", "emb_params"),
        *("lora_controlnet", "unet.conv_out.weight"),
    ],
)
def test_a_tensor_that_is_no_half_of_a_pair_spoils_the_file(key: str) -> None:
    refused(good() | {key: torch.ones(8, 2)}, key)


@pytest.mark.parametrize("half", [DOWN, UP])
def test_half_a_pair_spoils_the_file(half: str) -> None:
    other = half.replace("conv_in", "conv_out")
    assert "other half" in refused(good() | {other: torch.ones(2, 2)}, other)


@pytest.mark.parametrize("key", [DOWN, UP])
def test_nan_spoils_the_file(key: str) -> None:
    tensors = good()
    tensors[key].flatten()[3] = float("nan")
    assert "NaN" in refused(tensors, key)


def test_wrong_widths_are_shown() -> None:
    message = refused(good() | {DOWN: torch.ones(2, 9, 3, 3)}, DOWN)
    assert "[2, 9, 3, 3]" in message
    assert "[2, 4, 3, 3]" in message


def test_a_transposed_pair_is_refused() -> None:
    name = "unet.time_embedding.linear_1"
    tensors = {f"{name}.lora_A.weight": torch.ones(2, 32), f"{name}.lora_B.weight": torch.ones(8, 2)}
    assert "another base model" in refused(tensors, f"{name}.lora_A.weight")


@pytest.mark.parametrize("family", ["sd", "sdxl", "flux", "qwen_image", "z_image", "sd3"])
def test_names_of_another_family_match_nothing(family: str) -> None:
    name = "transformer.nothing.0.attn"
    tensors = {f"{name}.lora_A.weight": torch.ones(2, 16), f"{name}.lora_B.weight": torch.ones(16, 2)}
    assert "2 of the file's 2" in refused(tensors, f"{name}.lora_A.weight", family)


def test_one_layer_that_matches_nothing_spoils_the_file() -> None:
    name = "unet.conv_between"
    tensors = good() | {f"{name}.lora_A.weight": torch.ones(2, 16), f"{name}.lora_B.weight": torch.ones(16, 2)}
    assert "2 of the file's 4" in refused(tensors, f"{name}.lora_A.weight")


def test_a_norm_takes_no_pair() -> None:
    name = "unet.conv_norm_out"
    tensors = good() | {f"{name}.lora_A.weight": torch.ones(2, 8), f"{name}.lora_B.weight": torch.ones(8, 2)}
    assert "GroupNorm" in refused(tensors, f"{name}.lora_A.weight")


@pytest.mark.parametrize(
    ("family", "component", "why"),
    [
        ("sd", "text_encoder_2", "takes no LoRA"),
        ("sd3", "text_encoder_3", "takes no LoRA"),
        ("flux", "unet", "no LoRA"),
    ],
)
def test_a_component_that_takes_none_is_named(family: str, component: str, why: str) -> None:
    name = f"{component}.encoder.layers.0.self_attn.q_proj"
    tensors = {f"{name}.lora_A.weight": torch.ones(2, 16), f"{name}.lora_B.weight": torch.ones(16, 2)}
    message = refused(tensors, f"{name}.lora_A.weight", family)
    assert component in message
    assert why in message


def test_a_component_that_this_pipeline_is_without_is_named() -> None:
    bare = tiny.sd()
    bare.register_modules(text_encoder=None)
    name = "text_encoder.encoder.layers.0.self_attn.q_proj"
    tensors = {f"{name}.lora_A.weight": torch.ones(2, 16), f"{name}.lora_B.weight": torch.ones(16, 2)}
    with pytest.raises(
        AdapterError, match=f"^{FILE_NAME}: {name}.lora_A.weight is for text_encoder, which this model la"
    ):
        to_adapter(file_of(tensors), bare)


def test_a_control_lora_that_widens_the_input_is_refused() -> None:
    name = "transformer.x_embedder"
    tensors = {f"{name}.lora_A.weight": torch.ones(2, 32), f"{name}.lora_B.weight": torch.ones(16, 2)}
    assert "needs [2, 16]" in refused(tensors, f"{name}.lora_A.weight", "flux")


def test_a_scale_by_alpha_and_another_by_the_header_are_refused() -> None:
    metadata = {"lora_adapter_metadata": json.dumps({"unet.r": 2, "unet.lora_alpha": 4})}
    key = f"{LAYER}.alpha"
    assert "header" in refused(good() | {key: torch.tensor(1.0)}, key, metadata=metadata)


def test_a_header_that_says_dora_is_refused() -> None:
    metadata = {"lora_adapter_metadata": json.dumps({"unet.r": 2, "unet.use_dora": True})}
    assert "use_dora" in refused(good(), "lora_adapter_metadata", metadata=metadata)


def kohya(*names: str) -> Tensors:
    tensors: Tensors = {}
    for name in names:
        tensors |= {f"{name}.lora_down.weight": torch.ones(2, 16), f"{name}.lora_up.weight": torch.ones(16, 2)}
    return tensors


def mixed_sgm() -> tuple[Tensors, str, str]:
    # The converter drops the first when it sees the second.
    names = "lora_unet_input_blocks_4_1_proj_in", "lora_unet_mid_block_attentions_0_proj_in"
    return kohya(*names), f"{names[0]}.lora_down.weight", "sdxl"


def flux_t5() -> tuple[Tensors, str, str]:
    name = "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q"
    return kohya(name), f"{name}.lora_down.weight", "flux"


def flux_text_projection() -> tuple[Tensors, str, str]:
    name = "lora_te1_text_projection"
    return kohya(name), f"{name}.lora_down.weight", "flux"


def flux_two_dialects() -> tuple[Tensors, str, str]:
    known = {
        f"transformer.x_embedder.lora_{half}.weight": torch.ones(2, 16).reshape(shape)
        for half, shape in (("down", (2, 16)), ("up", (16, 2)))
    }
    name = "lora_unet_double_blocks_0_img_attn_proj"
    return known | kohya(name), f"{name}.lora_down.weight", "flux"


@pytest.mark.parametrize("case", [mixed_sgm, flux_t5, flux_text_projection, flux_two_dialects])
def test_what_diffusers_drops_without_an_error_spoils_the_file(case: Callable[[], tuple[Tensors, str, str]]) -> None:
    tensors, key, family = case()
    assert "left out by diffusers" in refused(tensors, key, family)


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("sd", ("lora_unet_conv_in", "lora_prior_conv_in")),
        ("sdxl", ("lora_unet_input_blocks_x_1_proj_in",)),
        ("flux", ("lora_unet_nothing_0_at_all",)),
        ("qwen_image", ("diffusion_model.x", "y.processor")),
    ],
)
def test_whatever_a_converter_raises_is_a_refusal_of_the_file(family: str, names: tuple[str, ...]) -> None:
    with pytest.raises(AdapterError, match=f"^{FILE_NAME}: "):
        to_adapter(file_of(kohya(*names)), pipeline(family))


def test_a_pair_of_zeros_for_an_encoder_that_flux_has_not_is_a_warning() -> None:
    empty = kohya("text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q")
    tensors = kohya("lora_te1_text_model_encoder_layers_0_self_attn_q_proj") | {k: 0 * t for k, t in empty.items()}
    adapter = to_adapter(file_of(tensors), pipeline("flux"))
    assert list(adapter.components) == ["text_encoder"]
    assert "matrices of zeros" in adapter.warnings[0]


_NAMES = st.sampled_from(
    [
        *("unet.conv_in", "unet.down_blocks.1.attentions.0.proj_in", "conv_in", "unet", "a..b", "default.x"),
        *("lora_unet_conv_in", "lora_unet_input_blocks_1_0_in_layers_2", "lora_te_", "lora_te1_x"),
        *("lora_te1_text_model_encoder_layers_0_mlp_fc1", "text_encoder.encoder.layers.0.self_attn.to_q"),
        *("lora_unet_double_blocks_0_img_attn_qkv", "lora_te1_position_embedding", "text_encoders.t5xxl.transformer.x"),
        *("diffusion_model.double_blocks.0.processor.qkv", "double_blocks.0.processor.qkv", "base_model.model.x"),
        *("transformer.x_embedder", "transformer.norm_out.linear", "lora_transformer_x_embedder"),
        *("diffusion_model.layers.0.attention.qkv", "transformer_blocks.0.attn.to_q"),
    ]
)
_ENDS = st.sampled_from(
    [
        *(".lora_A.weight", ".lora_B.weight", ".lora_down.weight", ".lora_up.weight", ".alpha", ".lora.down.weight"),
        *(".lora.up.weight", "_lora.down.weight", "_lora.up.weight", ".lora_A.default.weight", ".diff", ".weight"),
    ]
)
_SHAPES = st.sampled_from([(), (2,), (2, 4), (4, 2), (2, 16), (16, 2), (2, 4, 3, 3), (8, 2, 1, 1), (0, 2)])


@pytest.mark.parametrize("family", ["sd", "sdxl", "sd3", "flux", "qwen_image", "z_image"])
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    pairs=st.lists(st.tuples(_NAMES, st.sampled_from([("A", "B"), ("down", "up")]), st.integers(1, 3)), max_size=4),
    others=st.dictionaries(st.tuples(_NAMES, _ENDS), _SHAPES, max_size=1),
)
def test_whatever_the_names_a_file_is_taken_or_refused(
    family: str, pairs: list[tuple[str, tuple[str, str], int]], others: dict[tuple[str, str], tuple[int, ...]]
) -> None:
    tensors: Tensors = {}
    for name, (down, up), rank in pairs:
        tensors[f"{name}.lora_{down}.weight"] = torch.ones(rank, 16)
        tensors[f"{name}.lora_{up}.weight"] = torch.ones(16, rank)
    tensors |= {name + end: torch.ones(shape) for (name, end), shape in others.items()}
    try:
        adapter = to_adapter(file_of(tensors), pipeline(family))
    except AdapterError as error:
        message = str(error)
    else:
        assert sum(map(len, adapter.components.values())) > 0
        return
    assert message.startswith(f"{FILE_NAME}: ")
