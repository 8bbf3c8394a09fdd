"""Names that trainers give the layers of real models, whose widths some of diffusers' converters take for granted.

The models have their real widths and a few blocks each, and no memory: they are on torch's meta device.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
import torch
from diffusers import (
    FluxPipeline,
    FluxTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)

from imagegen.engine.adapters.adapter import LowRank
from imagegen.engine.adapters.conversion import to_adapter
from tests.unit.engine.adapters.reference import Tensors, file_of

RANK, ALPHA = 2, 1.0  # their ratio is a power of two, which no rounding hides
PEFT = ("lora_A.weight", "lora_B.weight")
NAMED = ("lora_A.default.weight", "lora_B.default.weight")
KOHYA = ("lora_down.weight", "lora_up.weight")
DOTTED = ("lora.down.weight", "lora.up.weight")
XLABS = ("down.weight", "up.weight")
Layers = tuple[str, ...]  # of the model, whose outputs the file has in one, in this order

SDXL_CONFIG: dict[str, Any] = {
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
MODELS: dict[str, tuple[Any, str, Any, dict[str, Any]]] = {
    "sdxl": (StableDiffusionXLPipeline, "unet", UNet2DConditionModel, SDXL_CONFIG),
    "flux": (FluxPipeline, "transformer", FluxTransformer2DModel, {"guidance_embeds": True}),
    "qwen_image": (QwenImagePipeline, "transformer", QwenImageTransformer2DModel, {"num_layers": 1}),
    "z_image": (ZImagePipeline, "transformer", ZImageTransformer2DModel, {"n_layers": 1, "n_refiner_layers": 1}),
}

QKV, ADDED_QKV = ("attn.to_q", "attn.to_k", "attn.to_v"), ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")
FLUX_DOUBLE: dict[str, Layers] = {
    "img_attn.proj": ("attn.to_out.0",),
    "img_attn.qkv": QKV,
    "img_mlp.0": ("ff.net.0.proj",),
    "img_mlp.2": ("ff.net.2",),
    "img_mod.lin": ("norm1.linear",),
    "txt_attn.proj": ("attn.to_add_out",),
    "txt_attn.qkv": ADDED_QKV,
    "txt_mlp.0": ("ff_context.net.0.proj",),
    "txt_mlp.2": ("ff_context.net.2",),
    "txt_mod.lin": ("norm1_context.linear",),
}
FLUX_SINGLE: dict[str, Layers] = {
    "linear1": (*QKV, "proj_mlp"),
    "linear2": ("proj_out",),
    "modulation.lin": ("norm.linear",),
}
FLUX_ENDS: dict[str, Layers] = {
    "img_in": ("x_embedder",),
    "txt_in": ("context_embedder",),
    "time_in.in_layer": ("time_text_embed.timestep_embedder.linear_1",),
    "vector_in.out_layer": ("time_text_embed.text_embedder.linear_2",),
    "guidance_in.in_layer": ("time_text_embed.guidance_embedder.linear_1",),
    "final_layer.linear": ("proj_out",),
}
XLABS_BLOCKS: dict[str, Layers] = {
    "double_blocks.3.processor.proj_lora1": ("transformer_blocks.3.attn.to_out.0",),
    "double_blocks.3.processor.proj_lora2": ("transformer_blocks.3.attn.to_add_out",),
    "double_blocks.3.processor.qkv_lora1": tuple(f"transformer_blocks.3.{name}" for name in QKV),
    "double_blocks.3.processor.qkv_lora2": tuple(f"transformer_blocks.3.{name}" for name in ADDED_QKV),
    "single_blocks.3.processor.qkv_lora": tuple(f"single_transformer_blocks.3.{name}" for name in QKV),
    "single_blocks.3.processor.proj_lora": ("single_transformer_blocks.3.proj_out",),
}
FLUX_MIXTURE = {
    "lora_transformer_transformer_blocks_3_attn_to_add_out": ("transformer_blocks.3.attn.to_add_out",),
    "lora_transformer_single_transformer_blocks_3_attn_to_q": ("single_transformer_blocks.3.attn.to_q",),
    "lora_transformer_context_embedder": ("context_embedder",),
}
SDXL_SGM: dict[str, Layers] = {
    "input_blocks_0_0": ("conv_in",),
    "input_blocks_1_0_in_layers_2": ("down_blocks.0.resnets.0.conv1",),
    "input_blocks_3_0_op": ("down_blocks.0.downsamplers.0.conv",),
    "input_blocks_4_0_skip_connection": ("down_blocks.1.resnets.0.conv_shortcut",),
    "input_blocks_4_0_emb_layers_1": ("down_blocks.1.resnets.0.time_emb_proj",),
    "input_blocks_4_1_transformer_blocks_0_attn1_to_q": ("down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",),
    "input_blocks_8_1_transformer_blocks_9_ff_net_0_proj": (
        "down_blocks.2.attentions.1.transformer_blocks.9.ff.net.0.proj",
    ),
    "middle_block_1_transformer_blocks_3_attn2_to_out_0": (
        "mid_block.attentions.0.transformer_blocks.3.attn2.to_out.0",
    ),
    "middle_block_2_out_layers_3": ("mid_block.resnets.1.conv2",),
    "output_blocks_2_1_proj_in": ("up_blocks.0.attentions.2.proj_in",),
    "output_blocks_2_2_conv": ("up_blocks.0.upsamplers.0.conv",),
    "output_blocks_5_1_transformer_blocks_1_ff_net_2": ("up_blocks.1.attentions.2.transformer_blocks.1.ff.net.2",),
    "output_blocks_8_0_in_layers_2": ("up_blocks.2.resnets.2.conv1",),
    "time_embed_0": ("time_embedding.linear_1",),
    "label_emb_0_2": ("add_embedding.linear_2",),
    "out_2": ("conv_out",),
}
QWEN_BLOCK: dict[str, Layers] = {
    f"transformer_blocks.0.{name}": (f"transformer_blocks.0.{name}",)
    for name in (
        *("attn.to_q", "attn.add_k_proj", "attn.to_out.0", "attn.to_add_out", "img_mod.1", "txt_mod.1"),
        *("img_mlp.net.0.proj", "txt_mlp.net.2"),
    )
}
QWEN_ENDS: dict[str, Layers] = {
    name: (name,) for name in ("img_in", "proj_out", "norm_out.linear", "time_text_embed.timestep_embedder.linear_1")
}
Z_IMAGE: dict[str, Layers] = {
    name: (name,)
    for name in (
        *("layers.0.attention.to_q", "layers.0.attention.to_out.0", "layers.0.feed_forward.w2"),
        *("layers.0.adaLN_modulation.0", "noise_refiner.0.attention.to_v", "context_refiner.0.feed_forward.w3"),
    )
}
Z_IMAGE_QKV = {
    "layers.0.attention.qkv": tuple(f"layers.0.attention.{name}" for name in ("to_q", "to_k", "to_v")),
    "layers.0.attention.out": ("layers.0.attention.to_out.0",),
}


@cache
def pipeline(family: str) -> Any:
    """What has a denoiser, and the class of the pipeline."""
    kind, component, model, config = MODELS[family]
    made = object.__new__(kind)
    with torch.device("meta"):
        object.__setattr__(made, component, model(**config))
    return made


@cache
def modules(family: str) -> dict[str, Any]:
    return dict(getattr(pipeline(family), MODELS[family][1]).named_modules())


def raw(family: str, names: Mapping[str, Layers], halves: tuple[str, str], alpha: float | None = None) -> Tensors:
    """A file with random pairs by these names."""
    generator = torch.Generator().manual_seed(0)
    tensors: Tensors = {}
    for name, layers in names.items():
        weights = [modules(family)[layer].weight for layer in layers]
        kernel = weights[0].shape[2:]
        tensors[f"{name}.{halves[0]}"] = torch.randn(RANK, *weights[0].shape[1:], generator=generator)
        rows = sum(weight.shape[0] for weight in weights)
        tensors[f"{name}.{halves[1]}"] = torch.randn(rows, RANK, *(1 for _ in kernel), generator=generator)
        if alpha is not None:
            tensors[f"{name}.alpha"] = torch.tensor(alpha)
    return tensors


def assert_read(family: str, names: Mapping[str, Layers], halves: tuple[str, str], alpha: float | None = None) -> None:
    """Check that each layer has its rows of what the file has, times alpha / rank."""
    tensors = raw(family, names, halves, alpha)
    adapter = to_adapter(file_of(tensors), pipeline(family))
    found = adapter.components[MODELS[family][1]]
    assert sorted(found) == sorted(layer for layers in names.values() for layer in layers)
    for name, layers in names.items():
        down, up = (tensors[f"{name}.{half}"].flatten(1) for half in halves)
        probe = torch.randn(down.shape[1], generator=torch.Generator().manual_seed(1))
        expected = up @ (down @ probe) * (1 if alpha is None else alpha / RANK)
        torch.testing.assert_close(torch.cat([applied(found[layer], probe) for layer in layers]), expected)
    assert adapter.warnings == ()


def applied(pair: LowRank, probe: torch.Tensor) -> torch.Tensor:
    return pair.up.flatten(1) @ (pair.down.flatten(1) @ probe)


def prefixed(prefix: str, names: Mapping[str, Layers], *, flat: bool = False) -> dict[str, Layers]:
    return {prefix + (name.replace(".", "_") if flat else name): layers for name, layers in names.items()}


def flux_blocks(block: int = 3) -> dict[str, Layers]:
    """The layers of one block of each kind, by the names of the original code."""
    return {
        f"{kind}_blocks.{block}.{name}": tuple(f"{own}.{block}.{layer}" for layer in layers)
        for kind, own, table in (
            ("double", "transformer_blocks", FLUX_DOUBLE),
            ("single", "single_transformer_blocks", FLUX_SINGLE),
        )
        for name, layers in table.items()
    }


@pytest.mark.parametrize("alpha", [None, ALPHA])
def test_sdxl_in_kohyas_format(alpha: float | None) -> None:
    assert_read("sdxl", prefixed("lora_unet_", SDXL_SGM), KOHYA, alpha)


@pytest.mark.parametrize("alpha", [None, ALPHA])
def test_flux_in_kohyas_format(alpha: float | None) -> None:
    assert_read("flux", prefixed("lora_unet_", flux_blocks(), flat=True), KOHYA, alpha)


def test_flux_in_comfyuis_format() -> None:
    assert_read("flux", prefixed("diffusion_model.", flux_blocks()), KOHYA, ALPHA)


def test_fluxs_ends_in_kohyas_format() -> None:
    # diffusers makes names of these that it ignores afterwards, and leaves out the last layer's alpha.
    assert_read("flux", prefixed("lora_unet_", FLUX_ENDS, flat=True), KOHYA, ALPHA)


def test_the_last_norm_of_flux_has_its_halves_the_other_way_round() -> None:
    names: dict[str, Layers] = {"lora_unet_final_layer_adaLN_modulation_1": ("norm_out.linear",)}
    tensors = raw("flux", names, KOHYA)
    pair = to_adapter(file_of(tensors), pipeline("flux")).components["transformer"]["norm_out.linear"]
    shift, scale = next(tensor for key, tensor in tensors.items() if "lora_up" in key).chunk(2)
    assert torch.equal(pair.up, torch.cat([scale, shift]))


def test_flux_in_xlabs_format() -> None:
    assert_read("flux", XLABS_BLOCKS, XLABS)


def test_flux_in_kohyas_format_with_diffusers_names() -> None:
    assert_read("flux", FLUX_MIXTURE, KOHYA, ALPHA)


def test_flux_with_a_dot_before_each_alpha() -> None:
    names = {
        f"transformer.single_transformer_blocks.{block}.attn.to_k": (f"single_transformer_blocks.{block}.attn.to_k",)
        for block in range(2)
    }
    assert_read("flux", names, PEFT, ALPHA)
    assert_read("flux", names, KOHYA, ALPHA)


def test_flux_kontext_as_its_trainers_write_it() -> None:
    names: dict[str, Layers] = {"final_layer.linear": ("proj_out",)}
    for block in range(38):
        names |= {name: layers for name, layers in flux_blocks(block).items() if block < 19 or "single" in name}
    assert_read("flux", prefixed("base_model.model.", names), PEFT)


@pytest.mark.parametrize("alpha", [None, ALPHA])
@pytest.mark.parametrize("halves", [PEFT, NAMED, KOHYA])
def test_qwen_image_by_its_own_names(halves: tuple[str, str], alpha: float | None) -> None:
    assert_read("qwen_image", prefixed("diffusion_model.", QWEN_BLOCK | QWEN_ENDS), halves, alpha)


def test_qwen_image_as_lightning_and_peft_write_it() -> None:
    assert_read("qwen_image", QWEN_BLOCK, KOHYA, ALPHA)
    assert_read("qwen_image", QWEN_BLOCK, NAMED)
    assert_read("qwen_image", prefixed("transformer.", QWEN_BLOCK), PEFT)


def test_qwen_image_in_kohyas_format() -> None:
    assert_read("qwen_image", prefixed("lora_unet_", QWEN_BLOCK | QWEN_ENDS, flat=True), KOHYA, ALPHA)


@pytest.mark.parametrize("alpha", [None, ALPHA])
@pytest.mark.parametrize("halves", [PEFT, NAMED, KOHYA])
def test_z_image_by_its_own_names(halves: tuple[str, str], alpha: float | None) -> None:
    assert_read("z_image", prefixed("diffusion_model.", Z_IMAGE), halves, alpha)


def test_z_image_in_kohyas_format() -> None:
    assert_read("z_image", prefixed("lora_unet_", Z_IMAGE, flat=True), KOHYA, ALPHA)
    assert_read("z_image", prefixed("lora_unet_", Z_IMAGE_QKV, flat=True), KOHYA, ALPHA)


def test_what_z_image_has_twice_is_taken_once() -> None:
    single = {f"layers.0.attention.to_{name}": (f"layers.0.attention.to_{name}",) for name in ("q", "k", "v", "out.0")}
    tensors = raw("z_image", prefixed("diffusion_model.", Z_IMAGE_QKV), DOTTED)
    tensors |= raw("z_image", prefixed("diffusion_model.", single), DOTTED)
    adapter = to_adapter(file_of(tensors), pipeline("z_image"))
    assert sorted(adapter.components["transformer"]) == sorted(single)
    assert "say again" in adapter.warnings[0]
    up = adapter.components["transformer"]["layers.0.attention.to_k"].up
    assert torch.equal(up, tensors["diffusion_model.layers.0.attention.to_k.lora.up.weight"])
