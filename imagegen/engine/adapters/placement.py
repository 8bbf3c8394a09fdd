"""Which layer each matrix of a file is for, once diffusers has translated the names; every one has to arrive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from imagegen.engine.adapters.adapter_file import AdapterFile
from imagegen.engine.adapters.layer_names import component_of, found_layer
from imagegen.engine.adapters.matrix_names import Half, matrix_name
from imagegen.engine.adapters.raw_pairs import RawKeys
from imagegen.engine.adapters.traced import TracedTensor

Modules = Mapping[str, Mapping[str, Any]]  # by component, then by name there; "" is the component itself


@dataclass(frozen=True, eq=False)
class PlacedPair:
    """The two matrices for a layer.

    Attributes:
        spelled: the layer's name as diffusers' converter left it.
        halves: each matrix, float32, and its key in the file.
    """

    spelled: str
    halves: dict[Half, tuple[torch.Tensor, str]] = field(default_factory=dict)


def placed_pairs(
    file: AdapterFile,
    raw: RawKeys,
    converted: Mapping[str, TracedTensor],
    components: Sequence[str],
    modules: Modules,
    redundant: frozenset[str] = frozenset(),
) -> tuple[dict[str, dict[str, PlacedPair]], tuple[str, ...]]:
    """The pairs by component and layer, and what a client should know.

    Args:
        file: for messages.
        raw: what is known of the file's keys.
        converted: the same by diffusers' names.
        components: of the pipeline that may have adapters, the denoiser first.
        modules: of those that the pipeline has.
        redundant: keys of matrices that need not arrive.

    Raises:
        AdapterError: a matrix of the file is for no layer, or two are for the same. Names the first.
    """
    placed: dict[str, dict[str, PlacedPair]] = {component: {} for component in components}
    arrived: set[str] = set()
    astray: dict[str, str] = {}  # why, by key
    for diffusers_key, tensor in converted.items():
        if (name := matrix_name(diffusers_key)) is None:
            continue  # an alpha, which is folded in; of anything else the matrix does not arrive
        sources = tensor.sources & raw.matrices
        key = min(sources, default=diffusers_key)
        component, spelled = component_of(name.layer, components)
        layer = found_layer(name, spelled, component, modules.get(component, ()))
        if layer is None:
            astray[key] = _reason(component, components, modules)
            continue
        halves = placed[component].setdefault(layer, PlacedPair(spelled)).halves
        if name.half in halves:
            raise file.refusal(key, f"is for the same layer as {halves[name.half][1]}")
        halves[name.half] = (tensor.as_subclass(torch.Tensor), key)
        arrived |= sources
    warnings = _check_arrived(file, raw, arrived, astray, redundant)
    complete = {component: layers for component, layers in placed.items() if layers}
    for layers in complete.values():
        for pair in layers.values():
            if len(pair.halves) != 2:
                raise file.refusal(next(iter(pair.halves.values()))[1], "loses the other half of its pair in diffusers")
    if not complete:
        raise file.refusal(min(raw.matrices), "and all other matrices are for no layer of this model")
    return complete, warnings


def _reason(component: str, components: Sequence[str], modules: Modules) -> str:
    if component in modules:
        return "is for no layer of this model"
    return f"is for {component}, which " + ("this model lacks" if component in components else "takes no LoRA here")


def _check_arrived(
    file: AdapterFile, raw: RawKeys, arrived: set[str], astray: Mapping[str, str], redundant: frozenset[str]
) -> tuple[str, ...]:
    lost = [key for key in file.tensors if (key in raw.matrices and key not in arrived) or key in astray]
    wrong = [key for key in lost if key not in raw.empty and key not in redundant]
    if wrong:
        why = astray.get(wrong[0], "is left out by diffusers, which does not know it")
        count = f" ({len(wrong)} of the file's {len(raw.matrices)} matrices are for none)" if len(wrong) > 1 else ""
        base = "" if arrived else "; it was made for another base model, or in a format that diffusers does not know"
        raise file.refusal(wrong[0], why + count + base)
    # A pair of zeros adds nothing, whatever layer it may be for. ComfyUI writes such pairs for text encoders that were
    # not trained, and diffusers' converter for Flux leaves them out too.
    empty = [key for key in lost if key in raw.empty]
    repeated = [key for key in lost if key not in raw.empty]
    return tuple(
        f"{len(keys)} matrices {what} are left out, such as {keys[0]}"
        for keys, what in (
            (empty, "of zeros that are for no layer of this model"),
            (repeated, "that say again what others say"),
        )
        if keys
    )
