"""Keys of a LoRA file that no low-rank pair has: another kind of adapter, or weights of another kind beside one.

diffusers drops some of them with a line in its log, which gives an image that is not the adapter's. So the keys are
looked at as they lie in the file, before diffusers sees them.
"""

from __future__ import annotations

import re

from imagegen.engine.adapters.adapter_file import AdapterFile

# By the name of the group that matches. The first that does counts.
_REASONS = {
    "dora": "belongs to DoRA; only LoRA is supported",
    "loha": "belongs to LoHa; only LoRA is supported",
    "lokr": "belongs to LoKr; only LoRA is supported",
    "oft": "belongs to OFT or BOFT; only LoRA is supported",
    "ia3": "belongs to IA3; only LoRA is supported",
    "glora": "belongs to GLoRA; only LoRA is supported",
    "vera": "belongs to VeRA; only LoRA is supported",
    "tucker": "belongs to a Tucker decomposition (LoCon with lora_mid), which is not supported",
    "control": "belongs to a control LoRA, which changes the model itself and is not supported",
    "difference": "is a whole difference of weights; only low-rank pairs are supported",
    "bias": "is a bias; only low-rank pairs are supported",
    "textual_inversion": "is an embedding of textual inversion, which is no LoRA",
    "embedding": "belongs to an embedding, where LoRA is not supported",
}
_REFUSED = re.compile(
    r"""
      (?P<dora>dora_scale|lora_magnitude_vector)
    | (?P<loha>hada_)
    | (?P<lokr>lokr_)
    | (?P<oft>\boft_|boft_|oft_blocks|oft_diag)
    | (?P<ia3>\bia3_|\.on_input$)
    | (?P<glora>\.[ab][12]\.weight$)
    | (?P<vera>vera_lambda|vera_[AB])
    | (?P<tucker>lora_mid)
    | (?P<control>lora_controlnet|(?:query|key)_norm\.scale$|\bnorm_(?:added_)?[qk]\.weight$)
    | (?P<difference>\.diff(?:_b)?$|\.set_weight$)
    | (?P<bias>\.bias$)
    | (?P<textual_inversion>emb_params|bundle_emb|string_to_param|^clip_[lg]$|^<)
    | (?P<embedding>lora_embedding_)
    """,
    re.VERBOSE,
)


def check_keys(file: AdapterFile) -> None:
    """Refuse a file with anything that is known to be no low-rank pair.

    Raises:
        AdapterError: names the file, the first such key, and what it belongs to.
    """
    for key in file.tensors:
        if (found := _REFUSED.search(key)) is not None and found.lastgroup is not None:
            raise file.refusal(key, _REASONS[found.lastgroup])
