"""From a LoRA file in any format that diffusers knows to the matrices for the layers of a loaded pipeline.

diffusers' own converters translate the names (`lora_state_dict` of the pipeline's class); all that `load_lora_weights`
does after them, up to PEFT, is done here: which layer of which component, which scale. An adapter is taken whole or not
at all. So each matrix of the file has to arrive at a layer: converters drop some without a word.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from typing import Any

from diffusers.loaders import ZImageLoraLoaderMixin

from imagegen.engine.adapters.adapter import Adapter, AdapterError, LowRank
from imagegen.engine.adapters.adapter_file import AdapterFile
from imagegen.engine.adapters.fused_projections import moved_into_fused
from imagegen.engine.adapters.layer_fit import Pair, fitted, stored
from imagegen.engine.adapters.peft_scale import peft_scales
from imagegen.engine.adapters.placement import placed_pairs
from imagegen.engine.adapters.raw_pairs import RawKeys, raw_pairs
from imagegen.engine.adapters.refused_keys import check_keys
from imagegen.engine.adapters.traced import TracedTensor, traced
from imagegen.engine.module_proxy import unwrapped

# Some trainers of Z-Image write what they have for to_q, to_k, to_v and to_out.0 a second time, for the fused layers of
# the original code. Its converter in diffusers takes these only where the others are missing.
_REDUNDANT_FOR_Z_IMAGE = re.compile(r"\.(?:qkv|out)\.lora\.(?:down|up)\.weight$")
_SHOWN_CHARACTERS = 300  # of what a converter says: it may list all keys


def to_adapter(file: AdapterFile, pipeline: Any) -> Adapter:
    """The adapter in a file, for this pipeline. Safe from any thread; the pipeline and the file stay as they are.

    Args:
        file: as it was read.
        pipeline: a loaded diffusers pipeline, whose components may be proxies.

    Raises:
        AdapterError: the pipeline takes no LoRA, the file has anything that is no LoRA or is damaged, or it was made
            for another base model. Names the file, and where there is one the first key that is wrong.
    """
    kind = type(pipeline)
    components = tuple(getattr(kind, "_lora_loadable_modules", ()))
    if not hasattr(kind, "lora_state_dict") or not components:
        raise AdapterError(f"{file.name}: {kind.__name__} takes no LoRA in diffusers")
    check_keys(file)
    scales = peft_scales(file)
    converted, raw = _converted(file, pipeline)
    if scales and raw.scaled is not None:
        raise file.refusal(raw.scaled, "gives a scale, and the file's header gives another")
    modules = {
        component: dict(unwrapped(module).named_modules())
        for component in components
        if (module := getattr(pipeline, component, None)) is not None
    }
    is_z_image = issubclass(kind, ZImageLoraLoaderMixin)
    redundant = frozenset(key for key in raw.matrices if is_z_image and _REDUNDANT_FOR_Z_IMAGE.search(key))
    placed, warnings = placed_pairs(file, raw, converted, components, modules, redundant)
    adapted: dict[str, dict[str, LowRank]] = {}
    for component, found in placed.items():
        fits: dict[str, LowRank] = {}
        scale_of = scales.get(component) or (scales.get("") if component == components[0] else None)
        for name, layer in found.items():
            (down, key), (up, _) = layer.halves["down"], layer.halves["up"]
            scale = 1.0 if scale_of is None else scale_of.of((name, layer.spelled), down.shape[0], key)
            fits[name] = fitted(file, Pair(down, up, key), modules[component][name], scale)
        fits = moved_into_fused(fits, modules[component])
        adapted[component] = {
            name: stored(layer, modules[component][name], modules[component][""]) for name, layer in fits.items()
        }
        for name, pair in adapted[component].items():  # a huge alpha, or float16 where the file has more
            if not (pair.down.isfinite().all() and pair.up.isfinite().all()):
                raise file.refusal(f"{component}.{name}", "is not finite with its alpha, in the dtype of the layer")
    return Adapter(file.digest, adapted, warnings)


def _converted(file: AdapterFile, pipeline: Any) -> tuple[Mapping[str, TracedTensor], RawKeys]:
    """The file's matrices by diffusers' names for them, each knowing which keys of the file it is made of."""
    tensors, raw = raw_pairs(file)
    convert = type(pipeline).lora_state_dict
    arguments: dict[str, Any] = {"return_lora_metadata": True}  # so that it is a tuple in any case
    if "return_alphas" in inspect.signature(convert).parameters:  # Flux
        arguments["return_alphas"] = True
    if (unet := getattr(pipeline, "unet", None)) is not None:  # SDXL: to count the blocks of names from its first code
        arguments["unet_config"] = unwrapped(unet).config
    try:
        state_dict = convert(traced(tensors), **arguments)[0]
    except Exception as error:  # whatever a converter comes by in names that it does not expect
        said = " ".join(str(error)[:_SHOWN_CHARACTERS].split())
        raise AdapterError(f"{file.name}: diffusers cannot convert it: {type(error).__name__}: {said}") from error
    return {key: tensor for key, tensor in state_dict.items() if isinstance(tensor, TracedTensor)}, raw
