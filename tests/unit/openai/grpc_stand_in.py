"""A real gRPC server on loopback in the place of Triton, whose streaming model does what a test tells it to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import np_to_triton_dtype, serialize_byte_tensor

Behaviour = Callable[[Any, Any], AsyncIterator[Any]]
"""From a ModelInferRequest and the gRPC context to the messages of the stream."""


@asynccontextmanager
async def triton_stand_in(
    behave: Behaviour, description: bytes | Callable[[], bytes] | None = None
) -> AsyncIterator[str]:
    """Run it; its `host:port`. Without a description of its model it is a server that has none to give."""

    class Servicer(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
        async def ModelStreamInfer(self, requests: Any, context: Any) -> AsyncIterator[Any]:
            async for request in requests:
                async for message in behave(request, context):
                    yield message

        async def ModelInfer(self, request: Any, context: Any) -> Any:
            if description is None:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "unexpected inference output for model")
            assert (request.model_name, len(request.inputs)) == ("image_preprocess", 0)
            (wanted,) = request.outputs
            said = description() if callable(description) else description
            return message(**{wanted.name: [said]}).infer_response

    server = grpc.aio.server()
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def message(**tensors: list[Any]) -> Any:
    """One response with these tensors: integers are INT32 or, for seeds, INT64; all else BYTES."""
    response = service_pb2.ModelInferResponse()
    for name, items in tensors.items():
        array: npt.NDArray[Any]
        if isinstance(items[0], int):
            array = np.array(items, dtype=np.int64 if name == "used_seed" else np.int32)
            raw = array.tobytes()
        else:
            array = np.array([item if isinstance(item, bytes) else item.encode() for item in items], dtype=np.object_)
            raw = serialize_byte_tensor(array).item()
        datatype = np_to_triton_dtype(array.dtype)
        response.outputs.append(
            service_pb2.ModelInferResponse.InferOutputTensor(name=name, datatype=datatype, shape=[len(items)])
        )
        response.raw_output_contents.append(raw)
    return service_pb2.ModelStreamInferResponse(infer_response=response)


def completed(model: str = "a-checkpoint", seed: int = 7, n: int = 1, output_format: str = "png") -> Any:
    """The last response of a request for n images."""
    metadata = {"model": model, "size": "128x128", "output_format": output_format, "num_inference_steps": 1}
    return message(
        event=["completed"],
        generated_image=["QUJD"] * n,
        used_seed=list(range(seed, seed + n)),
        metadata=[json.dumps(metadata | {"warnings": []})],
    )


def failure(text: str) -> Any:
    """The response to a request that Triton refused or failed."""
    return service_pb2.ModelStreamInferResponse(error_message=text)


async def completes(request: Any, context: Any) -> AsyncIterator[Any]:
    """Generate an image at once."""
    yield completed()


async def hangs(request: Any, context: Any) -> AsyncIterator[Any]:
    """Take the request and never respond, as a server whose model process has died may do."""
    await asyncio.Event().wait()
    yield completed()
