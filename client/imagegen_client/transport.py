"""What the four clients share: the models they call, connection options, and a request as tritonclient takes it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from tritonclient.utils import np_to_triton_dtype

from imagegen_client.arguments import GenerateArguments
from imagegen_client.description import ModelDescription
from imagegen_client.errors import InternalError, InvalidArgument
from imagegen_client.results import Outputs, output

MODEL = "image_generation"
STREAM_MODEL = "image_generation_stream"
CANCEL_MODEL = "image_generation_cancel"
ADMIN_MODEL = "image_generation_admin"
DESCRIPTION_MODEL = "image_preprocess"
DESCRIPTION_OUTPUT = "model_description"

ID_HEADER = "x-request-id"
_MAX_MESSAGE_BYTES = 2**31 - 1  # gRPC's largest, as tritonclient sets it
CHANNEL_ARGUMENTS = [
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    # A server that is started again is found within a second; unset, gRPC waits up to two minutes between attempts.
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
"""Of every gRPC connection."""


def infer_options(kind: type[Any], arguments: GenerateArguments) -> dict[str, Any]:
    """Keyword arguments for tritonclient's `infer`.

    Args:
        kind: the `InferInput` class of the protocol.
        arguments: the request.

    Raises:
        InvalidArgument: see `GenerateArguments.tensors`.
    """
    inputs = []
    for name, array in arguments.tensors().items():
        tensor = kind(name, list(array.shape), np_to_triton_dtype(array.dtype))
        inputs.append(tensor.set_data_from_numpy(array))
    return {"inputs": inputs, "priority": arguments.priority, "request_id": arguments.request_id}


def id_headers(request_id: str) -> dict[str, str] | None:
    """Headers that let a load balancer send a request and its cancel to the same server; None without an id."""
    # Others may not stand in a header, and gRPC would fail the request.
    fits = request_id.isascii() and request_id.isprintable()
    return {ID_HEADER: request_id} if request_id.strip() and fits else None


def cancel_inputs(kind: type[Any], request_id: str) -> list[Any]:
    """The inputs of the model that cancels requests.

    Args:
        kind: the `InferInput` class of the protocol.
        request_id: of the requests that are to be cancelled.
    """
    return [kind("request_id", [1], "BYTES").set_data_from_numpy(np.array([request_id.encode()], dtype=np.object_))]


def admin_inputs(
    kind: type[Any],
    command: str,
    admin_key: str,
    level: int | None = None,
    lora_name: str | None = None,
    lora_path: str | None = None,
) -> list[Any]:
    """The inputs of the model that takes an administrator's commands.

    Args:
        kind: the `InferInput` class of the protocol.
        command: sleep, wake, status, load_lora or unload_lora.
        admin_key: the server's.
        level: of a sleep; None for the server's own choice.
        lora_name: of load_lora and unload_lora.
        lora_path: of load_lora.
    """
    texts = {"command": command, "admin_key": admin_key, "lora_name": lora_name, "lora_path": lora_path}
    inputs = [
        kind(name, [1], "BYTES").set_data_from_numpy(np.array([text.encode()], dtype=np.object_))
        for name, text in texts.items()
        if text is not None
    ]
    if level is not None:
        inputs.append(kind("level", [1], "INT32").set_data_from_numpy(np.array([level], dtype=np.int32)))
    return inputs


def parse_admin_state(response: Outputs) -> dict[str, Any]:
    """What a server responded to an administrator.

    Raises:
        InternalError: it is not what this version of the client understands.
    """
    try:
        state = json.loads(bytes(output(response, "state")[0]))
    except (ValueError, IndexError) as error:
        raise InternalError(f"the server's response cannot be read: {error}") from error
    if not isinstance(state, dict):
        raise InternalError("the server's response cannot be read: it is no object")
    return state


def parse_description(response: Outputs) -> ModelDescription:
    """What a server responded of its model.

    Raises:
        InternalError: it is not what this version of the client understands.
    """
    try:
        return ModelDescription.from_json(bytes(output(response, DESCRIPTION_OUTPUT)[0]))
    except (ValueError, IndexError) as error:
        raise InternalError(f"the server's response cannot be read: {error}") from error


def checked_address(url: str) -> str:
    """`url` itself when it is `host:port`.

    Raises:
        InvalidArgument: it has a scheme, which tritonclient does not take.
    """
    if not url or "://" in url:
        raise InvalidArgument(f"{url!r} is not HOST:PORT, without http:// or grpc://", "url")
    return url
