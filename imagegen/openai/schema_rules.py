"""What holds between the fields of a request, as JSON Schema: one component that every body's schema refers to."""

from __future__ import annotations

from typing import Any

from imagegen.api import limits
from imagegen.openai.fields import OwnFields

NAME = "RequestRules"


def request_rules() -> dict[str, Any]:
    """The component."""
    return {
        "description": "What holds between fields: a stream has n = 1; previews and progress are a stream's; of "
        "several seeds each image gets one; own fields stand at top level or in nvext.",
        "allOf": [
            {"anyOf": [_stream(), *(_whole(n) for n in range(1, limits.MAX_N + 1))]},
            {"anyOf": [_no_own_fields(), {"properties": {"nvext": _no_own_fields()}}]},
        ],
    }


def _stream() -> dict[str, Any]:
    return {"required": ["stream"], "properties": {"stream": {"const": True}, "n": {"enum": [1, None]}, **_seeds(1)}}


def _whole(n: int) -> dict[str, Any]:
    """A request for n images without stream."""
    seeds = _seeds(n)
    properties = {
        "stream": {"enum": [False, None]},
        "partial_images": {"enum": [0, None]},
        "n": {"enum": [1, None]} if n == 1 else {"const": n},
        "seed": seeds["seed"],
        "nvext": {"properties": {"annotations": {"maxItems": 0}, "seed": seeds["seed"]}},
    }
    return {"properties": properties} | ({} if n == 1 else {"required": ["n"]})


def _seeds(n: int) -> dict[str, Any]:
    """One seed, of which image i gets seed + i, or n."""
    several = {"type": "array", "minItems": n, "maxItems": n}
    one = {"maximum": limits.MAX_SEED - n + 1}
    alone = {"type": "array", "minItems": 1, "maxItems": 1, "items": one}
    seed = {"anyOf": [{"type": ["integer", "null"], **one}, alone, *([several] if n > 1 else [])]}
    return {"seed": seed, "nvext": {"properties": {"seed": seed}}}


def _no_own_fields() -> dict[str, Any]:
    return {"properties": {name: {"type": "null"} for name in OwnFields.model_fields}}
