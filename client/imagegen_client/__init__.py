"""Client of the image generation server: gRPC and HTTP, blocking and asyncio, one set of arguments.

Begin with `ImageClient("localhost:8001").generate("a red circle", n=2, seed=7)`.
"""

from imagegen_client.arguments import GenerateArguments, Image, StreamArguments
from imagegen_client.errors import (
    Cancelled,
    DeadlineExceeded,
    ImageGenerationError,
    ImageRejected,
    InternalError,
    InvalidArgument,
    ServerUnreachable,
    StorageFailed,
    Unavailable,
)
from imagegen_client.over_grpc import AsyncImageClient, ImageClient
from imagegen_client.over_http import AsyncHttpImageClient, HttpImageClient
from imagegen_client.results import GenerateResult
from imagegen_client.streaming import Preview, Progress

__all__ = [
    "AsyncHttpImageClient",
    "AsyncImageClient",
    "Cancelled",
    "DeadlineExceeded",
    "GenerateArguments",
    "GenerateResult",
    "HttpImageClient",
    "Image",
    "ImageClient",
    "ImageGenerationError",
    "ImageRejected",
    "InternalError",
    "InvalidArgument",
    "Preview",
    "Progress",
    "ServerUnreachable",
    "StorageFailed",
    "StreamArguments",
    "Unavailable",
]
