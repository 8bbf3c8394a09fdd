"""KServe's requests as bytes: tensors by name in the binary form of HTTP, and as messages of gRPC."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import tritonclient.grpc.service_pb2 as pb

from perf.hostile.http_bytes import post

Tensor = tuple[str, tuple[int, ...], bytes]
"""Data type, shape, content."""

UNARY_MODEL, STREAM_MODEL, CANCEL_MODEL = "image_generation", "image_generation_stream", "image_generation_cancel"


def texts(items: Sequence[bytes]) -> Tensor:
    """A tensor of BYTES."""
    return "BYTES", (len(items),), b"".join(struct.pack("<I", len(item)) + item for item in items)


AS_TEXT = {"response_format": texts([b"b64_json"])}
"""For a response that is JSON, which Triton's is not with the bytes of an image."""


def cheap() -> dict[str, Tensor]:
    """The tensors of a valid request that costs little."""
    return {
        "prompt": texts([b"x"]),
        "size": texts([b"64x64"]),
        "num_inference_steps": ("INT32", (1,), struct.pack("<i", 2)),
    }


def message(
    tensors: Mapping[str, Tensor] | Sequence[tuple[str, Tensor]], model: str = UNARY_MODEL, edit: Any = None
) -> bytes:
    """A `ModelInferRequest` on the wire.

    Args:
        tensors: by name; a sequence may have a name twice.
        model: its name.
        edit: is called with the message before it is written.
    """
    request = pb.ModelInferRequest(model_name=model)
    for name, (data_type, shape, content) in tensors.items() if isinstance(tensors, Mapping) else tensors:
        request.inputs.add(name=name, datatype=data_type, shape=shape)
        request.raw_input_contents.append(content)
    if edit is not None:
        edit(request)
    wire: bytes = request.SerializeToString()
    return wire


def binary_request(
    path: str,
    tensors: Mapping[str, Tensor] | Sequence[tuple[str, Tensor]],
    *,
    header_length: str | None = None,
    sizes: Mapping[str, Any] | None = None,
    **others: Any,
) -> bytes:
    """A POST in KServe's binary form.

    Args:
        path: of the model's route.
        tensors: as of `message`.
        header_length: what is claimed to be the JSON part's length; None for the right one.
        sizes: what is claimed to be a tensor's length, by name.
        others: further entries of the JSON part.
    """
    items = list(tensors.items() if isinstance(tensors, Mapping) else tensors)
    inputs = [
        {
            "name": name,
            "datatype": data_type,
            "shape": shape,
            "parameters": {"binary_data_size": (sizes or {}).get(name, len(content))},
        }
        for name, (data_type, shape, content) in items
    ]
    described = json.dumps({"inputs": inputs, **others}).encode()
    body = described + b"".join(content for _, (_, _, content) in items)
    length = str(len(described)) if header_length is None else header_length
    return post(path, body, "application/octet-stream", f"Inference-Header-Content-Length: {length}")
