"""How one argument of a denoiser call merges with the same argument of other calls.

A *merge rule* is a tuple: the kind of merging, then all that must be equal between merged calls. Arguments with equal
rules therefore merge by construction. Kinds:

    rows     batched tensors: concatenated
    samples  lists of per-row tensors: concatenated lists
    list     lists of batched tensors: each position merged by its own rule
    dict     each entry merged by its own rule
    repeat   lists of one and the same entry for each row
    same     no batch dimension: equal by content, the first is taken
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch

from imagegen.engine.content_hash import content_key, row_key
from imagegen.engine.host_tensor import plain

# Argument names of diffusers' denoisers and ControlNets. Names come first because a shape can fit by accident.
MAIN = ("sample", "hidden_states", "x")  # whose batch dimension counts the rows
PER_ROW = {"timestep", "timesteps", "t", "timestep_r", "timestep_ratio", "guidance"}  # one number a row, in any form
_SAME_FOR_ALL = {  # no batch dimension: rope ids and tables, attention masks of IP-Adapters
    *("img_ids", "txt_ids", "image_rotary_emb", "rotary_emb", "freqs_cis", "freqs_cos", "freqs_sin"),
    *("ip_adapter_masks", "skip_layers", "control_type_idx"),
}
_ONE_PER_ROW = {"img_shapes"}  # a list with an entry a row, although some pipelines pass fewer
_SAMPLES = {"x", "cap_feats", "control_context"}  # may be a list of per-row tensors without batch dimension
RESIDUALS = {  # what control networks hand over: lists or tuples of tensors that each have the batch dimension
    *("down_block_additional_residuals", "down_intrablock_additional_residuals", "controlnet_block_samples"),
    *("controlnet_single_block_samples", "block_controlnet_hidden_states"),
}
_LISTS_OF_BATCHES = RESIDUALS | {
    *("controlnet_cond", "image_embeds", "ip_hidden_states", "ip_adapter_image_embeds", "conditioning_scale"),
}
_NEVER_MERGED = {"encoder_hidden_states_llama3"}  # HiDream: [layers, B, L, D]

_TO_FLOAT32 = (torch.int32, torch.int64, torch.float32, torch.float64)

MergeRule = tuple[Any, ...]


class CannotMergeError(Exception):
    """An argument is of an unknown kind: its call has to run alone."""


def per_row(value: Any, rows: int) -> Any:
    """A number a row: number, 0-d, [1] or [B] -> [B]. Numbers of the host stay there until all calls' are merged.

    Those that are not in half precision become float32: schedulers differ, and timestep embeddings are computed in it
    anyway.
    """
    if isinstance(value, torch.Tensor):
        value = plain(value)
        is_single = value.numel() == 1
        if not is_single or not value.is_cpu or value.dtype not in _TO_FLOAT32:
            value = value.reshape(1).expand(rows) if is_single else value
            return value.to(torch.float32) if value.dtype in _TO_FLOAT32 else value
        value = value.item()  # one operation instead of three
    if isinstance(value, (int, float)):
        return torch.full((rows,), value, dtype=torch.float32)
    raise CannotMergeError


def scale_a_row(value: Any, rows: int, dimensions: int, dtype: torch.dtype) -> Any:
    """A scale a row, [B, 1, ...] on the host, in the form that the value has: a number, or a list of one number.

    Lists of several stay as they are: a network of several types (ControlNetUnionModel) also multiplies sequences by
    them, of fewer dimensions.
    """
    if isinstance(value, list):
        return [scale_a_row(value[0], rows, dimensions, dtype)] if len(value) == 1 else value
    if not isinstance(value, (int, float)):
        return value
    return torch.full((rows, *[1] * (dimensions - 1)), value, dtype=dtype)


def rule_of(name: str, value: Any, rows: int, multiple: int = 1) -> MergeRule:
    """How to merge a value, and all that must be equal for it."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return ("same", content_key(value))
    if isinstance(value, torch.Tensor):
        return _tensor_rule(name, value, rows)
    if isinstance(value, dict) and type(value) is dict:
        return ("dict", tuple((key, rule_of(str(key), element, rows)) for key, element in value.items()))
    if name in _ONE_PER_ROW and isinstance(value, list) and value:
        if any(element != value[0] for element in value):
            raise CannotMergeError
        return ("repeat", _by_content(value[0]))
    if isinstance(value, (list, tuple)) and name not in _SAME_FOR_ALL and not _is_plain(value):
        if name in _SAMPLES and len(value) == rows and all(isinstance(sample, torch.Tensor) for sample in value):
            kinds = {(s.dtype, s.device, -(-s.shape[0] // multiple) * multiple, *s.shape[1:]) for s in value}
            return ("samples", frozenset(kinds))
        if name in _LISTS_OF_BATCHES and type(value) in (list, tuple):
            return ("list", type(value), tuple(rule_of(name, element, rows) for element in value))
        raise CannotMergeError
    return ("same", _by_content(value))


def _tensor_rule(name: str, value: torch.Tensor, rows: int) -> MergeRule:
    if name in _NEVER_MERGED:
        raise CannotMergeError
    if name in _SAME_FOR_ALL and name.endswith("_ids") and value.ndim == 3 and value.shape[0] == rows:
        # Batched ids: some models read only the first row's, some each row's. Equal rows suit both.
        key = row_key(value)
        if key is None:
            raise CannotMergeError
        return ("rows", key)
    if name in _SAME_FOR_ALL or value.ndim == 0:
        return ("same", _by_content(value))
    if value.shape[0] != rows:
        raise CannotMergeError
    return ("rows", value.dtype, value.device, tuple(value.shape)[1:])


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def _by_content(value: Any) -> Hashable:
    try:
        return content_key(value)
    except TypeError:
        raise CannotMergeError from None


def merge(rule: MergeRule, values: list[Any], total: int) -> Any:
    """One value for `total` rows out of the calls' values; rows that are missing repeat the last one."""
    kind = rule[0]
    if kind == "same":
        return values[0]
    if kind == "repeat":
        return [values[0][0]] * total
    if kind == "rows":
        missing = total - sum(value.shape[0] for value in values)
        padding = [values[-1][-1:].expand(missing, *values[-1].shape[1:])] if missing else []
        return torch.cat([*values, *padding])
    if kind == "samples":
        samples = [sample for value in values for sample in value]
        return samples + samples[-1:] * (total - len(samples))
    if kind == "dict":
        return {key: merge(part, [value[key] for value in values], total) for key, part in rule[1]}
    parts = (merge(part, [value[i] for value in values], total) for i, part in enumerate(rule[2]))
    return rule[1](parts)
