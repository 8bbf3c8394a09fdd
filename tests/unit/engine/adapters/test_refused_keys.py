from __future__ import annotations

import pytest
import torch

from imagegen.engine.adapters.adapter import AdapterError
from imagegen.engine.adapters.refused_keys import check_keys
from tests.unit.engine.adapters.reference import FILE_NAME, file_of

GOOD = ("unet.a.lora_A.weight", "unet.a.lora_B.weight", "lora_unet_a_to_q.lora_down.weight", "lora_unet_a_to_q.alpha")

REFUSED = {
    "lora_unet_a.dora_scale": "DoRA",
    "unet.a.lora_magnitude_vector": "DoRA",
    "unet.a.lora_magnitude_vector.weight": "DoRA",
    "lora_unet_a.hada_w1_a": "LoHa",
    "lora_unet_a.lokr_w1": "LoKr",
    "diffusion_model.a.lokr_w2_a": "LoKr",
    "oft_unet_a.oft_blocks": "OFT",
    "lora_unet_a.oft_diag": "OFT",
    "unet.a.oft_R.weight": "OFT",
    "unet.a.boft_R": "BOFT",
    "unet.a.ia3_l": "IA3",
    "lora_unet_a.on_input": "IA3",
    "lora_unet_a.a1.weight": "GLoRA",
    "unet.vera_lambda_d": "VeRA",
    "lora_unet_a.lora_mid.weight": "Tucker",
    "lora_controlnet": "control LoRA",
    "double_blocks.0.img_attn.norm.query_norm.scale": "control LoRA",
    "transformer.transformer_blocks.0.attn.norm_q.weight": "control LoRA",
    "transformer.transformer_blocks.0.attn.norm_added_k.weight": "control LoRA",
    "lora_unet_a.diff": "difference",
    "diffusion_model.a.diff_b": "difference",
    "unet.a.lora_B.bias": "bias",
    "unet.a.bias": "bias",
    "emb_params": "textual inversion",
    "bundle_emb.cat.string_to_param.*": "textual inversion",
    "clip_l": "textual inversion",
    "<cat>": "textual inversion",
    "text_encoder.token_embedding.lora_embedding_A": "embedding",
}


@pytest.mark.parametrize(("key", "kind"), REFUSED.items())
def test_what_is_no_low_rank_pair_is_refused_by_its_kind(key: str, kind: str) -> None:
    with pytest.raises(AdapterError) as error:
        check_keys(file_of(dict.fromkeys((*GOOD, key), torch.ones(1))))
    assert str(error.value).startswith(f"{FILE_NAME}: {key} ")
    assert kind in str(error.value)


def test_pairs_pass() -> None:
    check_keys(file_of(dict.fromkeys(GOOD, torch.ones(1))))
