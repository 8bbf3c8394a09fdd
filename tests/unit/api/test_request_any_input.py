"""Whatever a client sends is refused by name, or comes out typed and goes in again."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from imagegen.api import tensors
from imagegen.api.errors import InvalidArgument
from imagegen.api.limits import RequestLimits
from imagegen.api.request import ImageRequest, parse_request
from tests.unit.api.arrays import DTYPES, Array, tensor

LIMITS = RequestLimits(max_area_px=1024 * 1024)

_SHAPES = st.one_of(
    st.just((1,)), st.just((1,)), arrays_of.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3)
)
_TEXTS = st.one_of(
    st.sampled_from(["auto", "512x512", "64x8", *tensors.OUTPUT_FORMATS, *tensors.SCHEDULERS, "b64_json"]),
    st.text(max_size=8),
).map(lambda text: text.encode(errors="surrogatepass"))
_VALUES: dict[str, Any] = {
    "STRING": st.one_of(_TEXTS, st.binary(max_size=8)),
    "INT32": st.one_of(st.integers(-1, 12), st.integers(-(2**31), 2**31 - 1)),
    "INT64": st.one_of(st.integers(-1, 12), st.integers(-(2**63), 2**63 - 1)),
    "BOOL": st.booleans(),
    "FP32": st.one_of(st.sampled_from([0.0, float(np.float32(0.8)), 1.0, 7.5]), st.floats(width=32)),
}


@st.composite
def inputs(draw: st.DrawFn) -> dict[str, Array]:
    """Inputs of the right element type, with any shape and value, as Triton would let them through."""
    chosen = draw(st.sets(st.sampled_from(tensors.INPUT_NAMES[1:]), max_size=4)) | {"prompt"}
    if "lora_scale" in chosen and draw(st.booleans()):
        chosen |= {"lora"}
    if any("control" in name for name in chosen) and draw(st.booleans()):
        chosen |= {"control_image"}
    return {
        row.name: draw(arrays_of.arrays(DTYPES[row.data_type], draw(_SHAPES), elements=_VALUES[row.data_type]))
        for row in tensors.INPUTS
        if row.name in chosen
    }


def as_arrays(request: ImageRequest) -> dict[str, Array]:
    """The inputs that say the same as a parsed request."""
    values: dict[str, Any] = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "mask": request.mask,
        "n": request.n,
        "size": "x".join(map(str, request.size)) if request.size else None,
        "num_inference_steps": request.num_inference_steps,
        "guidance_scale": request.guidance_scale,
        "strength": request.strength,
        "scheduler": request.scheduler,
        "timeout_ms": request.timeout_ms,
        "output_format": request.output.output_format,
        "output_compression": request.output.output_compression,
        "response_format": request.output.response_format,
        "user": request.output.user,
        "control_preprocess": request.control_preprocess or None,
        "return_control": request.output.return_control or None,
    }
    lists: dict[str, Any] = {
        "image": request.images,
        "seed": request.seeds,
        "reference_image": request.references,
        "control_image": request.control_images,
        "control_type": [control.type for control in request.controls if control.type is not None],
        "control_scale": [control.scale for control in request.controls],
        "control_end": [control.end for control in request.controls],
        "lora": [lora.name for lora in request.loras],
        "lora_scale": [lora.scale for lora in request.loras],
    }
    return {name: tensor(name, [value]) for name, value in values.items() if value is not None} | {
        name: tensor(name, list(value)) for name, value in lists.items() if value
    }


@given(inputs())
@example({"prompt": np.array(b"no dimension", dtype=np.object_)})
def test_any_input_is_either_refused_by_name_or_comes_out_and_goes_in_again(arrays: dict[str, Array]) -> None:
    refused = None
    try:
        request = parse_request(arrays, LIMITS, granularity_px=8)
    except InvalidArgument as refusal:
        refused = refusal.field.partition("[")[0]
    if refused is not None:
        assert refused in arrays
    else:
        assert parse_request(as_arrays(request), LIMITS, granularity_px=8) == request
