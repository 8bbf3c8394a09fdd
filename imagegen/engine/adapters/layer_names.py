"""From a name as diffusers' converters leave it to the component and the layer that it means."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence

from imagegen.engine.adapters.matrix_names import MatrixName

# What text encoders call the four layers that diffusers' attention processors were named for.
_TEXT_PROJECTIONS = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
_COMPONENT = re.compile(r"unet|(?:transformer|text_encoder)(?:_\d)?|prior|vae|controlnet")


def is_text_encoder(component: str) -> bool:
    """Whether a component of a pipeline is one of its text encoders, by its name there."""
    return component.startswith("text_encoder")


def component_of(layer: str, components: Sequence[str]) -> tuple[str, str]:
    """The component that a name begins with, and the rest.

    A name without a component is one of the denoiser, the first of `components`: that is how models save their adapters
    without a pipeline, and a few of diffusers' converters forget the prefix (Flux in kohya's format: embedders and the
    last layer), so that diffusers ignores what they made.

    The component may be none of `components`, if the name says so.
    """
    first, _, rest = layer.partition(".")
    if rest and (first in components or _COMPONENT.fullmatch(first)):
        return first, rest
    return components[0], layer


def found_layer(name: MatrixName, layer: str, component: str, modules: Container[str]) -> str | None:
    """The name in `modules` of what the file calls `layer` within a component; None when there is no such module."""
    spelled = _for_text_encoder(name, layer) if is_text_encoder(component) else _for_denoiser(name, layer)
    return next((candidate for candidate in spelled if candidate in modules), None)


def _for_denoiser(name: MatrixName, layer: str) -> Iterator[str]:
    # As convert_unet_state_dict_to_peft of diffusers does.
    layer = layer.replace(".processor.", ".")
    yield f"{layer}.0" if name.of_processor and layer.endswith(".to_out") else layer


def _for_text_encoder(name: MatrixName, layer: str) -> Iterator[str]:
    """diffusers converts these in two steps that look at all keys at once, and fail when a file has not all kinds."""
    if name.of_processor:
        parent, dot, last = layer.rpartition(".")
        layer = parent + dot + _TEXT_PROJECTIONS.get(last, last)
    yield layer
    # CLIP's models have lost this level with transformers 5, and files of either kind stay.
    yield layer.removeprefix("text_model.")
    yield f"text_model.{layer}"
